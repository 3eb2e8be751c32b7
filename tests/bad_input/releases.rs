//! Releases that must not be installed: at the gateway, and where the gateway was fooled, at the device.

use super::bench::{Bench, nothing_half_written};
use fullmetal_proto::wire::{Opened, SigningKey, Trust, open, seal};
use fullmetal_sim::lab::{APP_REF, output_of};
use std::path::Path;
use std::process::Command;

#[test]
fn a_release_that_does_not_hold_is_refused_by_the_gateway_with_what_to_do() {
    let mut bench = Bench::new(1);
    bench.is_refused("apps/wbe/x86_64", &["central has no ref apps/wbe/x86_64", "spelling", "fullmetal publish"]);

    let commit = bench.publish_signed_by(None);
    bench.is_refused(
        APP_REF,
        &[&commit, "signed by 0 of the 1 build keys", "sign it with `fullmetal publish --commit", &commit],
    );

    let wrong = bench.dir.path().join("wrong");
    bench.fullmetal(&["keys", "generate", "--fleet", "other", "--out", &wrong.to_string_lossy()]).succeeds();
    let commit = bench.publish_signed_by(Some(&wrong.join("build.key")));
    bench
        .is_refused(APP_REF, &[&commit, "signed by 0 of the 1 build keys", "sign it with `fullmetal publish --commit"]);
    bench.frame_again(&commit);
    bench.deploys();

    let commit = bench.publish()["commit"].as_str().unwrap().to_owned();
    std::fs::remove_file(bench.at_central("manifests", &commit)).unwrap();
    // The objects are there all the same: they go as those of a plain repo.
    bench.deploys();
    bench.frame_again(&commit);

    std::fs::write(bench.at_central("manifests", &commit), "rubbish").unwrap();
    bench.is_refused(APP_REF, &["manifest of commit", &commit]);
    std::fs::write(bench.site.fleet.repo().join("refs/heads").join(APP_REF), "rubbish\n").unwrap();
    bench.is_refused(APP_REF, &["does not hold a commit checksum", APP_REF, "is it an OSTree repo?"]);
    let nowhere = "ab".repeat(32);
    bench.decide(APP_REF, Some(&nowhere)).fails(1, &[&nowhere, "central has no commit", "check the checksum"]);
    bench.site.central.end();
    bench.is_refused(APP_REF, &["central is out of reach", "http://10.98.0.2", "goes on trying", "withdraw"]);
    nothing_half_written(bench.device());
}

#[test]
fn a_device_refuses_what_a_fooled_gateway_announces() {
    let mut bench = Bench::new(1);
    believe_everything(&mut bench);
    let wrong = bench.dir.path().join("wrong");
    bench.fullmetal(&["keys", "generate", "--fleet", "other", "--out", &wrong.to_string_lossy()]).succeeds();
    for key in [None, Some(wrong.join("build.key"))] {
        bench.publish_signed_by(key.as_deref());
        let release = bench.release.to_string();
        bench.deploy();
        bench.fails(&["web", &release, "signed by 0 of the 1 build keys", "sign it with `fullmetal publish --commit"]);
    }
    nothing_half_written(bench.device());
    bench.publish();
    bench.deploys();
}

/// Gives the gateway and its peer a trust file that allows unsigned commits; the devices keep theirs.
fn believe_everything(bench: &mut Bench) {
    let keys = bench.site.fleet.keys();
    let opened: Opened<Trust> = open(&std::fs::read(keys.join("trust")).unwrap()).unwrap();
    let lax = Trust { version: 2, unsigned_refs: vec!["*".into()], ..opened.document };
    let envelope = seal(&lax, &[&signing_key(&keys.join("root.key"))]).unwrap();
    let gateway = &mut bench.site.gateway;
    gateway.end();
    std::fs::write(gateway.root().join("etc/fullmetal/trust"), envelope).unwrap();
    gateway.start_peer().unwrap();
    gateway.start_gateway().unwrap();
    bench.gateway_acts();
}

/// The seed is the end of the PKCS#8 encoding (RFC 8410, section 7).
fn signing_key(pem: &Path) -> SigningKey {
    let der = pem.with_extension("der");
    output_of(Command::new("openssl").args(["pkey", "-outform", "DER", "-in"]).arg(pem).arg("-out").arg(&der)).unwrap();
    let der = std::fs::read(der).unwrap();
    SigningKey::from_bytes(der[der.len() - 32..].try_into().unwrap())
}

#[test]
fn a_release_below_the_floor_is_refused_by_the_device() {
    let mut bench = Bench::new(1);
    let second = bench.publish()["commit"].as_str().unwrap().to_owned();
    bench.publish_with(0, &["--floor", "3"]);
    // The floor rises only when the release that brings it is proven.
    bench.decide(APP_REF, Some(&second)).succeeds();
    bench.succeeds(2);
    bench.deploys();
    bench.decide(APP_REF, Some(&second)).succeeds();
    bench.fails(&["web 2 is release 2, below 3", "publish it again with a higher release"]);
    nothing_half_written(bench.device());
}
