//! The central repo behind a plain static web server (nginx), which counts what it sends.

use super::process::{Process, wait_for};
use anyhow::Context as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A running nginx that serves one directory.
#[derive(Debug)]
pub struct Central {
    process: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Central {
    /// Serves `repo` at `address`; configuration and logs go to `dir`.
    pub fn start(dir: &Path, repo: &Path, address: SocketAddr, netns: Option<&str>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let configuration = dir.join("nginx.conf");
        std::fs::write(&configuration, configuration_text(dir, repo, address))?;
        let args = ["-c".into(), configuration.into_os_string(), "-p".into(), dir.as_os_str().to_owned()];
        let mut process = Process::start(Path::new("/usr/sbin/nginx"), args, &dir.join("nginx.log"), None, netns)?;
        let pid_file = dir.join("nginx.pid");
        wait_for("the web server", Duration::from_secs(10), || {
            process.check()?;
            Ok(std::fs::read_to_string(&pid_file).is_ok_and(|pid| !pid.trim().is_empty()).then_some(()))
        })?;
        Ok(Central { process, address, log: dir.join("access.log") })
    }

    /// The URL of the repo.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Bytes sent so far, headers included.
    pub fn bytes_sent(&self) -> u64 {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|l| l.split(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Takes it off the network.
    pub fn end(&mut self) {
        self.process.end();
    }
}

fn configuration_text(dir: &Path, repo: &Path, address: SocketAddr) -> String {
    let (dir, repo) = (dir.display(), repo.display());
    format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/error.log warn;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
           log_format counted '$bytes_sent $status $request_method $request_uri $http_range';\n\
           access_log {dir}/access.log counted;\n\
           client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n\
           uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n\
           sendfile on; keepalive_timeout 65; default_type application/octet-stream;\n\
           server {{ listen {address}; root {repo}; }}\n\
         }}\n"
    )
}
