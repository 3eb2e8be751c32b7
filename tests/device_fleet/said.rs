//! Apps of FullMetalUpdate that must be said to be well: root says it on their notify socket, in the device's own `/tmp`.

use crate::LIMIT;
use crate::steered::Steered;
use fullmetal_sim::lab::wait_for;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

const DEVICE: &str = "press-1";
const SOCKET: &str = "/tmp/fullmetalupdate/fullmetalupdate_notify_web.sock";
/// How long it has to be said, which is its probation, too.
const TIMEOUT_S: &str = "2";

impl Steered {
    /// A release of which Hawkbit says what FullMetalUpdate's servers say.
    fn publish_one_that_must_say(&mut self, release: u64) {
        let tree = self.bench.dir.path().join("tree-web");
        let tree = crate::apps::build(&tree, release, None);
        let published = self.bench.publish_tree("web", release, &tree, &["--level", "1"]);
        let commit = ("apps/web/x86_64", published["commit"].as_str().unwrap());
        let more = [("notify", "1"), ("timeout", TIMEOUT_S)];
        let set = self.operator.make_set(("web", &release.to_string()), commit, &more).unwrap();
        self.sets.insert(release, set);
    }

    /// Says it as soon as somebody listens.
    fn say(&self, words: &str) {
        let socket = self.host(1).device.seen(SOCKET).unwrap();
        let mut at = wait_for("the notify socket", LIMIT, || Ok(UnixStream::connect(&socket).ok())).unwrap();
        at.write_all(words.as_bytes()).unwrap();
    }
}

/// Good news, bad news and none; the device runs release 4.
pub fn what_is_said_on_the_notify_socket_decides(story: &mut Steered) {
    for (release, said, end, page, reason) in [
        (5, Some("success\n"), "finished", "release 5", ""),
        (6, Some("exit-code exited 3\n"), "error", "release 5", "says of itself: exit-code exited 3"),
        (7, None, "error", "release 5", "said nothing on its notify socket"),
    ] {
        story.publish_one_that_must_say(release);
        story.assign(release, &[(DEVICE, end)]);
        if let Some(words) = said {
            story.say(words);
        }
        story.are_told(&[DEVICE]);
        story.check(&[(1, page)]);
        let told = story.words(DEVICE);
        assert!(told.contains(reason), "{reason:?} is not in {told}");
        assert!(!story.host(1).device.seen(SOCKET).unwrap().exists(), "the socket stays");
    }
}
