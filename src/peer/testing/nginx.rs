//! nginx from Debian over a folder.

use super::{PATIENCE, free_port};
use reqwest::Url;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; it ends with this value.
pub struct Nginx {
    child: Child,
    port: u16,
    scheme: &'static str,
    prefix: tempfile::TempDir,
}

impl Nginx {
    /// Serves `root` over HTTP.
    pub fn http(root: &Path) -> Self {
        Self::start(root, "http", "")
    }

    /// Serves `root` over HTTPS and HTTP/2 with a certificate and key (PEM files).
    pub fn https(root: &Path, certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        Self::start(root, "https", &format!("ssl_certificate {certificate}; ssl_certificate_key {key};"))
    }

    fn start(root: &Path, scheme: &'static str, tls: &str) -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let port = free_port();
        let dir = prefix.path().display();
        let ssl = if tls.is_empty() { "" } else { " ssl http2" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {dir}/{kind};"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log; events {{}}
             http {{ access_log {dir}/access.log; default_type application/octet-stream; {temporary}
               server {{ listen 127.0.0.1:{port}{ssl}; {tls} root {root}; }} }}",
            root = root.display()
        );
        let path = prefix.path().join("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(&path)
            .arg("-p")
            .arg(prefix.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed by .ci/install-tools run");
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Nginx { child, port, scheme, prefix }
    }

    /// Its root.
    pub fn url(&self) -> Url {
        format!("{}://127.0.0.1:{}/", self.scheme, self.port).parse().unwrap()
    }

    /// Lines of its access log.
    pub fn requests(&self) -> Vec<String> {
        let log: PathBuf = self.prefix.path().join("access.log");
        std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits until the log, which is written after the answers, says that `bytes` were sent for `folder`.
    pub async fn sent(&self, folder: &str, bytes: u64) {
        let what = format!("{bytes} bytes of {folder} in the log of {}", self.url());
        super::eventually(&what, || async { (self.bytes_sent(folder) >= bytes).then_some(()) }).await;
        assert_eq!(self.bytes_sent(folder), bytes, "{:?}", self.requests());
    }

    /// Body bytes that it sent for files below `folder`, as its log says.
    pub fn bytes_sent(&self, folder: &str) -> u64 {
        let of_line = |line: &String| {
            let mut quoted = line.split('"');
            let request = quoted.nth(1)?;
            let bytes = quoted.next()?.split_whitespace().nth(1)?.parse::<u64>().ok()?;
            request.contains(folder).then_some(bytes)
        };
        self.requests().iter().filter_map(of_line).sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
