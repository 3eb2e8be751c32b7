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
    dir: PathBuf,
    repo: PathBuf,
    address: SocketAddr,
    netns: Option<String>,
}

impl Central {
    /// Serves `repo` at `address`; configuration and logs go to `dir`.
    pub fn start(dir: &Path, repo: &Path, address: SocketAddr, netns: Option<&str>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let process = serve(dir, &configuration_text(dir, repo, address, true), netns)?;
        let (dir, repo, netns) = (dir.to_owned(), repo.to_owned(), netns.map(str::to_owned));
        Ok(Central { process, dir, repo, address, netns })
    }

    /// Ends it if it runs and starts it; without `ranges` it answers every Range with the whole file.
    pub fn restart(&mut self, ranges: bool) -> anyhow::Result<()> {
        self.process.end();
        let configuration = configuration_text(&self.dir, &self.repo, self.address, ranges);
        self.process = serve(&self.dir, &configuration, self.netns.as_deref())?;
        Ok(())
    }

    /// The URL of the repo.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Bytes sent so far, headers included.
    pub fn bytes_sent(&self) -> u64 {
        let text = std::fs::read_to_string(self.dir.join("access.log")).unwrap_or_default();
        text.lines().filter_map(|l| l.split(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Takes it off the network.
    pub fn end(&mut self) {
        self.process.end();
    }
}

fn serve(dir: &Path, configuration: &str, netns: Option<&str>) -> anyhow::Result<Process> {
    let (file, pid_file) = (dir.join("nginx.conf"), dir.join("nginx.pid"));
    std::fs::write(&file, configuration)?;
    let args = ["-c".into(), file.into_os_string(), "-p".into(), dir.as_os_str().to_owned()];
    let mut process = Process::start(Path::new("/usr/sbin/nginx"), args, &dir.join("nginx.log"), None, netns)?;
    wait_for("the web server", Duration::from_secs(10), || {
        process.check()?;
        Ok(std::fs::read_to_string(&pid_file).is_ok_and(|pid| !pid.trim().is_empty()).then_some(()))
    })?;
    Ok(process)
}

fn configuration_text(dir: &Path, repo: &Path, address: SocketAddr, ranges: bool) -> String {
    let (dir, repo) = (dir.display(), repo.display());
    let ranges = if ranges { "" } else { "max_ranges 0;" };
    format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/error.log warn;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
           log_format counted '$bytes_sent $status $request_method $request_uri $http_range';\n\
           access_log {dir}/access.log counted;\n\
           client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n\
           uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n\
           sendfile on; keepalive_timeout 65; default_type application/octet-stream;\n\
           server {{ listen {address}; root {repo}; {ranges} }}\n\
         }}\n"
    )
}
