mod conformance;
mod detect;
mod fixture;
mod grub;
mod systemd_boot;
mod u_boot;
