# Boots what libostree has put first, counts that while a deployment is on trial, and boots the second when no try is left.
#
#   mkimage -T script -C none -d fullmetal.cmd fullmetal.scr
#
# It counts in the environment and saves it, so that must be one which U-Boot can save, best with two copies.
# Variables: src/boot_loader/u_boot.rs. The board sets, in its environment or before it runs this:
#   devtype, devnum, distro_bootpart   where /boot is
#   fullmetal_boot                     loads ${kernel_image}, ${ramdisk_image} and ${fdt_file} or what is in ${fdtdir}
#                                      from there and boots them
#   fullmetal_save                     saves the environment where /etc/fw_env.config finds it [saveenv]
#   fullmetal_addr                     where /boot/loader/uEnv.txt is loaded [kernel_addr_r]
# libostree's link /boot/boot -> . makes /boot/... right also where /boot is a partition of its own.

fullmetal_entry=first
if test -z "${fullmetal_save}"; then setenv fullmetal_save saveenv; fi
if test "${fullmetal_saved}" != 1; then
  setenv fullmetal_saved 1
  run fullmetal_save
fi
if test -n "${fullmetal_trial}"; then
  if test "${fullmetal_tries}" = 5; then setenv fullmetal_tries 4
  elif test "${fullmetal_tries}" = 4; then setenv fullmetal_tries 3
  elif test "${fullmetal_tries}" = 3; then setenv fullmetal_tries 2
  elif test "${fullmetal_tries}" = 2; then setenv fullmetal_tries 1
  elif test "${fullmetal_tries}" = 1; then setenv fullmetal_tries 0
  else fullmetal_entry=second
  fi
  # What cannot be counted is not tried.
  if test ${fullmetal_entry} = first; then
    if run fullmetal_save; then true; else fullmetal_entry=second; fi
  fi
fi

# Nothing below is saved.
if test -z "${fullmetal_addr}"; then setenv fullmetal_addr ${kernel_addr_r}; fi
setenv kernel_image2
# What the board has itself counts for an entry that says nothing of it, the second like the first.
setenv fullmetal_fdt "${fdt_file}"; setenv fullmetal_fdtdir "${fdtdir}"; setenv fullmetal_ramdisk "${ramdisk_image}"
# These alone, and those that are not there are none: a system may add variables of its own to the file, which must not
# reach into the way back.
setenv fullmetal_import 'setenv fdt_file; setenv fdtdir; setenv ramdisk_image; setenv fdt_file2; setenv fdtdir2; setenv ramdisk_image2; if load ${devtype} ${devnum}:${distro_bootpart} ${fullmetal_addr} /boot/loader/uEnv.txt; then env import -t ${fullmetal_addr} ${filesize} kernel_image ramdisk_image fdt_file fdtdir bootargs kernel_image2 ramdisk_image2 fdt_file2 fdtdir2 bootargs2; fi; run fullmetal_board'
setenv fullmetal_board 'if test -z "${fdt_file}"; then setenv fdt_file "${fullmetal_fdt}"; fi; if test -z "${fdtdir}"; then setenv fdtdir "${fullmetal_fdtdir}"; fi; if test -z "${ramdisk_image}"; then setenv ramdisk_image "${fullmetal_ramdisk}"; fi; if test -z "${fdt_file2}"; then setenv fdt_file2 "${fullmetal_fdt}"; fi; if test -z "${fdtdir2}"; then setenv fdtdir2 "${fullmetal_fdtdir}"; fi; if test -z "${ramdisk_image2}"; then setenv ramdisk_image2 "${fullmetal_ramdisk}"; fi'
run fullmetal_import
setenv fullmetal_first 'setenv bootargs "${bootargs} fullmetal.loader=u-boot fullmetal.entry=1"'
setenv fullmetal_second 'setenv kernel_image "${kernel_image2}"; setenv ramdisk_image "${ramdisk_image2}"; setenv fdt_file "${fdt_file2}"; setenv fdtdir "${fdtdir2}"; setenv bootargs "${bootargs2} fullmetal.loader=u-boot fullmetal.entry=2"'
if test ${fullmetal_entry} = second && test -n "${kernel_image2}"; then
  run fullmetal_second
else
  run fullmetal_first
  # A counted boot that ends in a panic or a shell of the initramfs must count, and not stand there.
  if test -n "${fullmetal_trial}"; then setenv bootargs "${bootargs} panic=10 rd.emergency=reboot fullmetal.counted"; fi
fi
echo fullmetal: ${fullmetal_entry} entry, tries left: ${fullmetal_tries}
run fullmetal_boot
# It came back. A counted first entry has failed then, and the next boot may be of the other; else that one is tried now.
if test -n "${kernel_image2}"; then
  if test ${fullmetal_entry} = second; then
    run fullmetal_import
    run fullmetal_first
    run fullmetal_boot
  elif test -z "${fullmetal_trial}"; then
    run fullmetal_second
    run fullmetal_boot
  fi
fi
reset
