//! What must hold after a scenario, however often its gateway was killed.

use crate::run::Run;
use crate::scenario::Actions;
use fullmetal_proto::Digest;
use fullmetal_proto::wire::{Announcement, ReportState, open};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn all(run: &Run, actions: &Actions) {
    ends(run, actions);
    histories(run);
    counters(run);
    audit(run, actions);
}

/// Each action ends once, and truly.
fn ends(run: &Run, actions: &Actions) {
    let Actions { succeeded, cancelled, failed } = *actions;
    let accepted = run.hawkbit.standin.as_ref().unwrap().faults().all_terminal_feedbacks();
    assert_eq!(accepted, BTreeMap::from([(succeeded, 1), (cancelled, 1), (failed, 1)]), "feedbacks that end an action");
    let ends = ["finished", "error", "canceled"];
    for (action, end) in [(succeeded, ends[0]), (failed, ends[1]), (cancelled, ends[2])] {
        let said = ends.map(|kind| run.hawkbit.count(&run.device, action, kind));
        assert_eq!(said, ends.map(|kind| usize::from(kind == end)), "{:#?}", run.hawkbit.history(&run.device, action));
    }
}

/// Each report is in the history of its action; those that end nothing may be there twice.
fn histories(run: &Run) {
    for (action, state) in &run.reported {
        let word = match state {
            ReportState::Withdrawn => "dropped before the switch".to_owned(),
            state => format!("{state:?}").to_lowercase(),
        };
        let history = run.hawkbit.history(&run.device, *action);
        let shown = |(_, text): &(String, String)| text.lines().any(|line| line.starts_with(&word));
        assert!(history.iter().any(shown), "no {word:?} in {history:#?}");
    }
}

/// Counters never go back, and none has two contents.
fn counters(run: &Run) {
    let announced = run.site.peer.with(|s| s.announced.clone());
    let ranks: Vec<(u64, u64)> = announced.iter().map(|b| open::<Announcement>(b).unwrap().document.rank()).collect();
    assert!(ranks.is_sorted(), "{ranks:?}");
    let mut contents = BTreeMap::new();
    for (rank, bytes) in ranks.iter().zip(&announced) {
        let before = contents.insert(rank, bytes);
        assert!(before.is_none_or(|b| b == bytes), "{rank:?} has two contents");
    }
}

/// Each line whole and once: decisions, bundles, every announcement that left, rows, reports.
fn audit(run: &Run, actions: &Actions) {
    let lines = run.site.audit();
    let ids: Vec<u64> = lines.iter().filter_map(|l| l["entry"].as_u64()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "entries, each once and in order");
    let events = |kind: &str| -> Vec<Value> {
        lines.iter().map(|l| l["event"][kind].clone()).filter(|e| !e.is_null()).collect()
    };
    let wanted = [actions.succeeded, actions.cancelled, actions.failed];
    let of = |kind: &str| events(kind).iter().map(|e| e["action"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("decided"), wanted);
    assert_eq!(of("bundled"), wanted);
    assert_eq!(of("withdrawn"), [actions.cancelled]);

    let made: BTreeMap<String, Value> =
        events("announced").into_iter().map(|e| (e["rank"].to_string(), e["content"].clone())).collect();
    for announced in run.site.peer.with(|s| s.announced.clone()) {
        let opened = open::<Announcement>(&announced).unwrap();
        let (rank, content) = (json!(opened.document.rank()).to_string(), json!(Digest::of(&opened.envelope.body)));
        assert_eq!(made.get(&rank), Some(&content), "announcement {rank}");
    }
    let rows: Vec<Value> = events("announced").iter().flat_map(|e| e["rows"].as_array().unwrap().clone()).collect();
    let told = [(wanted[0], "now"), (wanted[1], "now"), (wanted[1], "withdraw"), (wanted[2], "now")];
    assert_eq!(rows, told.map(|(action, mode)| json!([run.device, action, mode])));

    let reports: Vec<&Value> = lines.iter().map(|l| &l["report"]).filter(|r| !r.is_null()).collect();
    let reports: Vec<Value> = reports.iter().map(|r| json!([r["counter"], r["action"], r["state"]])).collect();
    let sent = (1..).zip(&run.reported).map(|(counter, (action, state))| json!([counter, action, state]));
    assert_eq!(reports, sent.collect::<Vec<_>>(), "reports, each once and in order");
}
