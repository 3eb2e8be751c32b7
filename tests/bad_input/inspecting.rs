//! What `fullmetal inspect` says about everything that lies on a desk.

use super::desk::Desk;

#[test]
fn keys_and_certificates_are_told_without_a_private_byte() {
    let desk = Desk::new();
    let (root, answer) = desk.answer("press-1", "keys");
    desk.fullmetal(&["--root", &root, "enroll", "--answer", &answer]).succeeds();
    let build = desk.fullmetal(&["inspect", &desk.at("keys/build.key")]);
    build.prints(&["private key", "key id", "yes: build key in trust file version 1"]);
    let secret = std::fs::read_to_string(desk.at("keys/build.key")).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    for said in [&build, &desk.fullmetal(&["--json", "inspect", &desk.at("keys/build.key")])] {
        assert!(!said.out.contains(&secret[20..40]), "{}", said.out);
    }
    desk.fullmetal(&["inspect", &desk.at("keys/device-ca.crt")]).prints(&["X.509", "a device CA of fleet f"]);
    let (trust, member) = (desk.at("keys/trust"), format!("{root}/etc/fullmetal/identity/peer.crt"));
    let name = "urn:fullmetal:f:device:press-1";
    desk.fullmetal(&["inspect", &member, "--trust", &trust]).prints(&[name, "yes: the peer of press-1 in fleet f"]);
    desk.fullmetal(&["inspect", &member]).prints(&[name, "no: no trust file", "--trust"]);
    let other = desk.file("rsa.key", "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n");
    desk.fullmetal(&["inspect", &other]).fails(1, &["rsa.key", "RSA PRIVATE KEY", "PKCS#8"]);
    let cut = desk.file("cut.key", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n");
    desk.fullmetal(&["inspect", &cut]).fails(2, &["cut.key", "no ed25519 private key"]);
}

#[test]
fn an_answer_is_judged_by_the_trust_file_that_is_given_and_its_revocations() {
    let desk = Desk::new();
    let (trust, list) = (desk.at("keys/trust"), desk.at("keys/revocations"));
    let (_, answer) = desk.answer("press-1", "keys");
    let inspect = |answer: &str, words: &[&str]| desk.fullmetal(&["inspect", answer, "--trust", &trust]).prints(words);
    inspect(&answer, &["yes: both certificates hold under trust file version 1"]);
    desk.fullmetal(&["keys", "generate", "--fleet", "f", "--out", &desk.at("false")]).succeeds();
    let (_, wrong) = desk.answer("press-2", "false");
    desk.fullmetal(&["inspect", &wrong]).prints(&["yes: both certificates hold under its own trust file", "--trust"]);
    inspect(&wrong, &["no: ", "no device CA of this fleet issued it"]);
    let revoke = ["keys", "revoke", "--keys", &desk.at("keys"), "--device", "press-1", "--out", &list];
    desk.fullmetal(&revoke).succeeds();
    inspect(&answer, &["no: ", "press-1 is revoked"]);
}

#[test]
fn commits_are_told_with_their_signatures() {
    let desk = Desk::new();
    let program = desk.file("tree/run", "#!");
    std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (tree, trust) = (desk.at("tree"), desk.at("keys/trust"));
    let published = desk.publish(&[&tree, "--cmd", "/run", "--release", "7", "--name", "web"]);
    published.succeeds();
    let commit = published.out.lines().next().unwrap().to_owned();
    let object = format!("{}/objects/{}/{}.commit", desk.at("repo"), &commit[..2], &commit[2..]);
    let words = [&commit, "web", "release      7", "apps/x", "(build)", "yes: devices take it as apps/x"];
    for file in [object.clone(), format!("{object}meta")] {
        desk.fullmetal(&["inspect", &file, "--trust", &trust]).prints(&words);
    }
    std::fs::remove_file(format!("{object}meta")).unwrap();
    let unsigned = desk.fullmetal(&["inspect", &object, "--trust", &trust]);
    unsigned.prints(&["signatures   0", "no: as apps/x it is signed by 0 of the 1 build keys"]);
    let mut bytes = std::fs::read(&object).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    desk.fullmetal(&["inspect", &object]).fails(1, &[&object, "corrupt", "ostree fsck"]);
    let rubbish = desk.file("rubbish.commit", "rubbish");
    desk.fullmetal(&["inspect", &rubbish]).fails(1, &["rubbish.commit", "no OSTree commit"]);
    desk.fullmetal(&["inspect", &tree]).fails(1, &["tree is a directory", "name a file"]);
}

#[test]
fn an_operating_system_is_looked_at_before_it_is_published_and_told_with_its_kernel() {
    let desk = Desk::new();
    let kernel = "system/usr/lib/modules/6.1.0";
    desk.file(&format!("{kernel}/vmlinuz"), "a kernel");
    desk.file("system/usr/lib/os-release", "ID=floor");
    desk.file("system/usr/etc/hosts", "");
    let system = desk.at("system");
    for dir in ["boot", "dev", "proc", "run", "sys", "sysroot", "var"] {
        std::fs::create_dir(desk.at("system/") + dir).unwrap();
    }
    std::fs::set_permissions(&system, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let publish = || desk.publish(&[&system, "--os", "--name", "floor", "--version", "2026.11"]);
    publish().fails(2, &["cannot be booted", "initramfs.img", "--no-initramfs", "symlink to sysroot/ostree"]);
    assert!(!std::path::Path::new(&desk.at("repo")).exists());
    desk.file(&format!("{kernel}/initramfs.img"), "a first file system");
    std::os::unix::fs::symlink("sysroot/ostree", desk.at("system/ostree")).unwrap();
    let published = publish();
    published.prints(&["operating system, Linux 6.1.0", "note: there is no usr/bin/fullmetal"]);
    let commit = published.out.lines().next().unwrap();
    let object = format!("{}/objects/{}/{}.commit", desk.at("repo"), &commit[..2], &commit[2..]);
    desk.fullmetal(&["inspect", &object]).prints(&["os           floor", "version      2026.11", "kernel       6.1.0"]);
    desk.publish(&[&system]).fails(2, &["is no app bundle", "--os"]);
}
