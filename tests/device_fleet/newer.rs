//! What an agent leaves behind that is newer than the one that has to go on from it: fields that nobody knows yet, wherever
//! there may be some. A part of the test runs on the device for that.

use crate::bench::Host;
use ciborium::Value;
use fullmetal::config::Paths;
use fullmetal::journal::{self, RECORD_NAME};
use fullmetal_proto::Digest;
use std::fs;

/// Of the journal's file: `FMRECORD` and a SHA-256.
const HEADER_LEN: usize = 8 + 32;
const MAGIC_LEN: usize = 8;
const FIELD: &str = "what only a newer agent knows";
/// What looks like a record's parts and is a name or an alternative with its content.
const NO_STRUCT: [&str; 3] = ["apps", "phase", "exit"];
/// What was written, for [`was_written`].
const COPY: &str = "/var/lib/fullmetal/written-by-a-newer-agent";

/// Files of an operating system (path and text) whose agent writes more than it knows: what goes last of it is this.
pub fn written_as_the_device_goes_down() -> [(&'static str, String); 2] {
    let own = std::env::current_exe().unwrap();
    let own = own.file_name().unwrap().to_string_lossy();
    let service = format!(
        "[Unit]\nBefore=fullmetal-agent.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n\
         ExecStop=/run/lab/{own} --exact newer::than_the_agent_that_reads_it --ignored --nocapture\n"
    );
    let wants = "[Unit]\nWants=newer.service\n".to_owned();
    let wanted_by = "usr/lib/systemd/system/fullmetal-agent.service.d/newer.conf";
    [("usr/lib/systemd/system/newer.service", service), (wanted_by, wants)]
}

/// It was, in the midst of a roll back.
pub fn was_written(host: &Host) {
    let copy = fs::read(host.device.seen(COPY).unwrap()).unwrap();
    let fields = copy.windows(FIELD.len()).filter(|bytes| *bytes == FIELD.as_bytes()).count();
    let rolling_back = copy.windows(12).any(|bytes| bytes == b"rolling-back");
    assert!(rolling_back && fields > 8, "{fields} fields: {}", String::from_utf8_lossy(&copy));
}

#[test]
#[ignore = "runs on a device"]
fn than_the_agent_that_reads_it() {
    let dir = Paths::new("/").journal_dir();
    let before = journal::peek(&dir).unwrap().unwrap();
    let bytes = fs::read(dir.join(RECORD_NAME)).unwrap();
    let (header, body) = bytes.split_at(HEADER_LEN);
    let mut record: Value = ciborium::from_reader(body).unwrap();
    grow("record", &mut record);
    let mut body = Vec::new();
    ciborium::into_writer(&record, &mut body).unwrap();
    let all = [&header[..MAGIC_LEN], Digest::of(&body).as_bytes(), &body].concat();
    fs::write(dir.join(RECORD_NAME), &all).unwrap();
    fs::write(COPY, &all).unwrap();
    assert_eq!(journal::peek(&dir).unwrap().unwrap(), before);
}

/// Adds a field to all that has fields.
fn grow(name: &str, value: &mut Value) {
    match value {
        Value::Map(fields) => {
            fields.iter_mut().for_each(|(name, value)| grow(name.as_text().unwrap_or_default(), value));
            if !NO_STRUCT.contains(&name) {
                fields.push((FIELD.into(), Value::Array(vec![1.into(), Value::Null])));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| grow(name, value)),
        _ => {}
    }
}
