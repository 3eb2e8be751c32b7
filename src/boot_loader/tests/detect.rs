use super::fixture::{Device, deployment};
use crate::boot_loader::{BootLoaderError, DeploymentId, Places, booted, detect};
use std::fs;

#[test]
fn what_says_nothing_of_itself_is_refused_with_what_to_do() {
    let device = Device::new();
    let error = detect(&device.places()).err().unwrap();
    assert!(matches!(error, BootLoaderError::Unknown { .. }) && error.to_string().contains("docs/"), "{error}");
    fs::create_dir_all(device.path("boot/grub")).unwrap();
    let error = detect(&device.places()).err().unwrap();
    assert!(matches!(error, BootLoaderError::Unprepared { loader: "GRUB", .. }), "{error}");
    device.cmdline("rw fullmetal.loader=lilo");
    assert!(detect(&device.places()).is_err());
}

#[test]
fn the_booted_deployment_is_the_one_that_is_the_root_directory() {
    let device = Device::new();
    assert_eq!(booted(&device.places()), Some(deployment("old")));
    // Beside it another, and something that is none.
    for other in [deployment("new").to_string(), format!("{}.origin", deployment("old"))] {
        fs::create_dir(device.path("ostree/deploy/fm/deploy").join(other)).unwrap();
    }
    assert_eq!(booted(&device.places()), Some(deployment("old")));
    assert_eq!(booted(&Places::below(device.path("etc"))), None);
}

#[test]
fn deployments_are_written_and_read_in_one_way_only() {
    let id = deployment("new");
    assert_eq!(id.to_string().parse::<DeploymentId>().unwrap(), id);
    for wrong in
        [format!("{}.01", id.commit), format!("{}.+1", id.commit), id.commit.to_string(), "x.0".into(), String::new()]
    {
        assert!(wrong.parse::<DeploymentId>().is_err(), "{wrong}");
    }
}
