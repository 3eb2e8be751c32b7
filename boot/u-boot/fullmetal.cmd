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
# These alone, and those that are not there are none: a system may add variables of its own to the file, which must not
# reach into the way back.
if load ${devtype} ${devnum}:${distro_bootpart} ${fullmetal_addr} /boot/loader/uEnv.txt; then
  env import -t ${fullmetal_addr} ${filesize} kernel_image ramdisk_image fdt_file fdtdir bootargs kernel_image2 ramdisk_image2 fdt_file2 fdtdir2 bootargs2
fi
setenv fullmetal_second 'setenv kernel_image "${kernel_image2}"; setenv ramdisk_image "${ramdisk_image2}"; setenv fdt_file "${fdt_file2}"; setenv fdtdir "${fdtdir2}"; setenv bootargs "${bootargs2} fullmetal.loader=u-boot fullmetal.entry=2"'
if test ${fullmetal_entry} = second && test -n "${kernel_image2}"; then
  run fullmetal_second
else
  setenv bootargs "${bootargs} fullmetal.loader=u-boot fullmetal.entry=1"
  # A counted boot that ends in a panic or a shell of the initramfs must count, and not stand there.
  if test -n "${fullmetal_trial}"; then setenv bootargs "${bootargs} panic=10 rd.emergency=reboot fullmetal.counted"; fi
fi
echo fullmetal: ${fullmetal_entry} entry, tries left: ${fullmetal_tries}
run fullmetal_boot
# It came back. A counted boot has failed then, and the next may be of the other entry; else that one is tried now.
if test -z "${fullmetal_trial}" && test -n "${kernel_image2}"; then
  run fullmetal_second
  run fullmetal_boot
fi
reset
