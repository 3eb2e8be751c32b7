# What a machine's board does with U-Boot's environment: it runs fullmetal.cmd, and boots Debian's kernel.
setenv devtype virtio; setenv devnum 0; setenv distro_bootpart 1
setenv fullmetal_addr 6100000
setenv fullmetal_boot 'load virtio 0:1 4000000 ${kernel_image} && setenv lab_length ${filesize} && load virtio 0:1 8000000 ${ramdisk_image} && zboot 4000000 ${lab_length} 8000000 ${filesize}'
load virtio 0:1 ${scriptaddr} /boot/fullmetal.scr
source ${scriptaddr}
