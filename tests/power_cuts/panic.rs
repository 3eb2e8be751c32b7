//! A release whose kernel never comes as far as user space.

use crate::site::Site;
use fullmetal_sim::lab::device::Loader;
use fullmetal_sim::lab::machine::make_panicking;

/// What a kernel says that cannot mount a root.
const PANIC: &str = "Kernel panic - not syncing: VFS: Unable to mount root fs";
/// What the first entry's says of a boot that is counted, and the second's of one after it.
const COUNTED: &str = "fullmetal.entry=1 panic=10 rd.emergency=reboot fullmetal.counted";
const FELL_BACK: &str = "fullmetal.entry=2";

/// The boot loader gives it up, which the site is told; what comes next is no different.
pub fn is_left_after_three_boots(loader: Loader) {
    let mut site = Site::new(Some(loader));
    site.comes_up();
    let dir = tempfile::tempdir().unwrap();
    make_panicking(site.kernel(), dir.path()).unwrap();
    let (action, before) = site.decides_for(Some(dir.path()));
    assert_eq!(site.ends(action, before), ("failed".to_owned(), before));
    let boots: Vec<String> = site.boots_since_the_decision();
    // The last lines of each: what came of it.
    let panics: Vec<bool> = boots.iter().map(|said| said.contains(COUNTED) && said.contains(PANIC)).collect();
    assert_eq!(panics[..4], [false, true, true, true], "{boots:#?}");
    assert_eq!(boots[1..].iter().filter(|said| said.contains("systemd[1]")).count(), boots.len() - 4, "{boots:#?}");
    assert!(boots[4].contains(FELL_BACK), "{}", boots[4]);
    let reason = site.reason(action);
    assert!(reason.contains("rolled back by the boot loader, since it did not come up"), "{reason}");
    println!("{loader:?}: {} boots, {reason}", boots.len() - 1);
    let (action, before) = site.decides();
    site.succeeds(action, before);
}
