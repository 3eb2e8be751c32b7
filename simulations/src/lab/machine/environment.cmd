# U-Boot's environment on a machine's disk: its U-Boot is built without a place for it. Two copies before the partition, as
# CONFIG_SYS_REDUNDAND_ENVIRONMENT and fw_setenv have them: a CRC-32, one byte that counts the writes, the variables. `env` knows
# such a copy without that byte: the checksum is put in its place meanwhile.
#   6000000, 6010000   the copies, at the disk's blocks 10 and 30 (all numbers are hexadecimal)
#   5ff0000            room for a checksum; 5ff0010: the counting byte of the copy that is in use

virtio read 6000000 10 20
virtio read 6010000 30 20
setenv lab_first 'cp.b 6000004 5ff0010 1; cp.b 6000000 5ff0000 4; cp.b 5ff0000 6000001 4; env import -c 6000001 3fff'
setenv lab_second 'cp.b 6010004 5ff0010 1; cp.b 6010000 5ff0000 4; cp.b 5ff0000 6010001 4; env import -c 6010001 3fff'
lab_newer=first
if itest.b *6010004 -gt *6000004; then lab_newer=second; fi
if itest.b *6000004 == ff && itest.b *6010004 == 0; then lab_newer=second; fi
if itest.b *6000004 == 0 && itest.b *6010004 == ff; then lab_newer=first; fi
# A copy that was not written to its end has another checksum.
lab_older=second
if test ${lab_newer} = second; then lab_older=first; fi
lab_used=none
if run lab_${lab_newer}; then lab_used=${lab_newer}; elif run lab_${lab_older}; then lab_used=${lab_older}; fi
# The next write is to the other copy. This U-Boot cannot add.
setenv lab_block 10
if test ${lab_used} = first; then setenv lab_block 30; fi
setenv lab_count 'setenv lab_found no; for h in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do for l in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do if test ${lab_found} = yes; then mw.b 5ff0010 ${h}${l}; setenv lab_found done; elif test ${lab_found} = no; then if itest.b *5ff0010 == ${h}${l}; then setenv lab_found yes; fi; fi; done; done; if test ${lab_found} = yes; then mw.b 5ff0010 0; fi'
setenv lab_write 'run lab_count; env export -c -s 3fff 6000001; cp.b 6000001 5ff0000 4; cp.b 5ff0000 6000000 4; cp.b 5ff0010 6000004 1; virtio write 6000000 ${lab_block} 20'
setenv fullmetal_save 'if run lab_write; then if test ${lab_block} = 10; then setenv lab_block 30; else setenv lab_block 10; fi; true; else false; fi'
