use super::*;
use fullmetal_proto::DeviceId;
use proptest::prelude::*;
use serde_json::{Value, json};

fn base(text: &str) -> Result<Base, AnswerError> {
    let device: DeviceId = "p1".parse().unwrap();
    Base::decode(text.as_bytes(), Asked { tenant: "DEFAULT", device: &device })
}

fn deployment(value: &Value) -> Result<Deployment, AnswerError> {
    Deployment::decode(value.to_string().as_bytes(), ActionId(8), false)
}

#[test]
fn fields_may_be_absent_null_or_unknown() {
    let bare = base("{}").unwrap();
    let nothing = Base {
        sleep: SLEEP_DEFAULT,
        deployment: None,
        confirmation: None,
        cancel: None,
        installed: None,
        revision: None,
        wants_config_data: false,
    };
    assert_eq!(bare, nothing);
    for text in [
        r#"{"config":null,"_links":null}"#,
        r#"{"config":{"polling":null,"x":1},"_links":{"deploymentBase":null,"future":{"href":"ftp://x"}},"y":[[]]}"#,
        r#"{"config":{"polling":{"sleep":null}},"_links":{}}"#,
    ] {
        assert_eq!(base(text).unwrap(), nothing, "{text}");
    }
    let short = deployment(&json!({"id": "8", "deployment": {"download": "attempt", "update": "skip"}})).unwrap();
    assert_eq!((short.chunks.len(), short.maintenance_window, short.history), (0, None, None));
    let chunk = json!({"part": "os", "artifacts": null, "metadata": null, "encrypted": true});
    let long = json!({"id": "8", "deployment": {"download": "forced", "update": "forced", "chunks": [chunk, {}],
        "maintenanceWindow": null, "soon": {}}, "actionHistory": {"messages": ["m"]}, "_links": {}});
    let long = deployment(&long).unwrap();
    assert_eq!(long.history.unwrap(), History { status: String::new(), messages: vec!["m".to_owned()] });
    let empty = Chunk { part: "os".into(), name: "".into(), version: "".into(), metadata: BTreeMap::new() };
    assert_eq!(long.chunks, [empty.clone(), Chunk { part: "".into(), ..empty }]);
}

#[test]
fn each_link_is_read_and_one_to_anybody_else_spoils_the_answer() {
    let link = |kind: &str, tail: &str| json!({kind: {"href": format!("http://h/DEFAULT/controller/v1/{tail}")}});
    let text = |kind: &str, tail: &str| json!({"_links": link(kind, tail)}).to_string();
    assert_eq!(base(&text("deploymentBase", "p1/deploymentBase/8?c=-5")).unwrap().deployment, Some(ActionId(8)));
    assert_eq!(base(&text("deploymentBase", "p1/deploymentBase/8?c=-5")).unwrap().revision, Some(-5));
    assert_eq!(base(&text("confirmationBase", "p1/confirmationBase/8?c=7")).unwrap().revision, Some(7));
    assert_eq!(base(&text("cancelAction", "p1/cancelAction/9")).unwrap().cancel, Some(ActionId(9)));
    assert_eq!(base(&text("installedBase", "p1/installedBase/9")).unwrap().installed, Some(ActionId(9)));
    assert!(base(&text("configData", "p1/configData")).unwrap().wants_config_data);
    for kind in ["deploymentBase", "confirmationBase", "cancelAction", "installedBase"] {
        let other = base(&text(kind, &format!("p2/{kind}/8"))).unwrap_err();
        assert_eq!(other, AnswerError::OtherDevice { kind, device: "p2".to_owned() });
    }
    assert!(base(&text("configData", "p2/configData")).is_err());
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        ("", "EOF"),
        ("{", "EOF"),
        ("[1]", "cannot be read"),
        ("<html>", "line 1 column 1"),
        (r#"{"config":{"polling":{"sleep":"soon"}}}"#, "\"soon\" is neither HH:mm:ss"),
        (r#"{"config":{"polling":{"sleep":5}}}"#, "expected a string"),
        (r#"{"config":{},"config":{}}"#, "duplicate field"),
        (r#"{"_links":{"deploymentBase":{}}}"#, "missing field `href`"),
    ];
    for (text, expected) in cases {
        let message = base(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}: {expected}");
    }
    let ok = json!({"download": "forced", "update": "forced"});
    let cases = [
        (json!({"id": "9", "deployment": ok}), "asked for action 8, the answer is about action 9"),
        (json!({"id": "x", "deployment": ok}), "\"x\" is no action id"),
        (json!({"deployment": ok}), "missing field `id`"),
        (json!({"id": "8"}), "has no \"deployment\""),
        (json!({"id": "8", "confirmation": ok}), "has no \"deployment\""),
        (json!({"id": "8", "deployment": {"download": "forced"}}), "missing field `update`"),
        (json!({"id": "8", "deployment": {"download": "forced", "update": "later"}}), "unknown variant `later`"),
        (
            json!({"id": "8", "deployment": {"download": "forced", "update": "forced", "chunks": [
                {"name": "m", "metadata": [{"key": "rev", "value": "1"}, {"key": "rev", "value": "2"}]}]}}),
            "module \"m\" has the metadata \"rev\" twice",
        ),
    ];
    for (value, expected) in cases {
        let message = deployment(&value).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}: {expected}");
    }
    let other = Cancel::decode(br#"{"id":"9","cancelAction":{"stopId":"9"}}"#, ActionId(8)).unwrap_err();
    assert!(matches!(other, AnswerError::OtherAction { .. }), "{other}");
    let none = Cancel::decode(br#"{"id":"8"}"#, ActionId(8)).unwrap_err();
    assert_eq!(none.to_string(), "the answer has no \"cancelAction\"");
}

#[test]
fn deep_nesting_is_refused_where_it_matters_and_harmless_where_it_does_not() {
    let deep = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(base(&format!(r#"{{"config":{}}}"#, deep(100_000))).is_err());
    let unknown = base(&format!(r#"{{"unknown":{}}}"#, deep(100_000)));
    assert!(unknown.is_ok() || unknown.unwrap_err().to_string().contains("recursion"));
}

/// Words that the decoders know, so that generated answers get past the first field.
fn word() -> impl Strategy<Value = String> {
    let known = [
        "id",
        "config",
        "polling",
        "sleep",
        "_links",
        "href",
        "deploymentBase",
        "confirmationBase",
        "cancelAction",
        "installedBase",
        "configData",
        "deployment",
        "confirmation",
        "stopId",
        "download",
        "update",
        "forced",
        "chunks",
        "metadata",
        "key",
        "value",
        "part",
        "8",
        "00:05:00",
        "maintenanceWindow",
        "available",
        "actionHistory",
        "http://h/DEFAULT/controller/v1/p1/deploymentBase/8",
        "http://h/DEFAULT/controller/v1/p2/deploymentBase/8",
    ];
    prop_oneof![5 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,12}"]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..8).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(value in any_json()) {
        let text = value.to_string();
        if let Ok(found) = base(&text) {
            prop_assert!(found.deployment.is_none() || text.contains("/p1/deploymentBase/8"));
        }
        for waits in [false, true] {
            if let Ok(found) = Deployment::decode(text.as_bytes(), ActionId(8), waits) {
                prop_assert_eq!(value.get("id"), Some(&Value::from("8")));
                prop_assert_eq!(found.confirmation_required, waits);
            }
        }
        let _ = Cancel::decode(text.as_bytes(), ActionId(8));
    }

    #[test]
    fn any_deployment_is_mapped_or_refused(value in any_json()) {
        let body = json!({"id": "8", "deployment": {"download": "forced", "update": "forced", "chunks": [value]}});
        if let Ok(found) = deployment(&body) {
            let device: DeviceId = "p1".parse().unwrap();
            let now = fullmetal_proto::Timestamp::ZERO;
            let _ = crate::ddi::mapping::map(&device, &found, now, SLEEP_DEFAULT);
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let device: DeviceId = "p1".parse().unwrap();
        let _ = Base::decode(&bytes, Asked { tenant: "DEFAULT", device: &device });
        prop_assert!(Deployment::decode(&bytes, ActionId(8), false).is_err());
        prop_assert!(Cancel::decode(&bytes, ActionId(8)).is_err());
    }
}
