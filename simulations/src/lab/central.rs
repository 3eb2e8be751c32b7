//! The central repo behind a plain static web server (nginx), which counts what it sends.

use super::process::{Process, wait_for};
use anyhow::Context as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a web server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// As it should.
    Well,
    /// Every Range with the whole file.
    WithoutRanges,
    /// Everything with this status.
    Status(u16),
    /// Wrong bytes of pieces.
    Corrupt,
}

/// A running nginx that serves one directory.
#[derive(Debug)]
pub struct Central {
    process: Process,
    dir: PathBuf,
    repo: PathBuf,
    address: SocketAddr,
    netns: Option<String>,
    answers: Answers,
}

impl Central {
    /// Serves `repo` at `address`; configuration and logs go to `dir`.
    pub fn start(dir: &Path, repo: &Path, address: SocketAddr, netns: Option<&str>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let process = serve(dir, &configuration_text(dir, repo, address, Answers::Well), netns)?;
        let (dir, repo, netns) = (dir.to_owned(), repo.to_owned(), netns.map(str::to_owned));
        Ok(Central { process, dir, repo, address, netns, answers: Answers::Well })
    }

    /// Ends it if it runs and starts it so that it answers like this.
    pub fn restart(&mut self, answers: Answers) -> anyhow::Result<()> {
        self.process.end();
        self.answers = answers;
        let wrong = self.dir.join("wrong");
        if answers == Answers::Corrupt && !wrong.exists() {
            super::corrupt::copy(&self.repo, &wrong)?;
        }
        let repo = if answers == Answers::Corrupt { &wrong } else { &self.repo };
        let configuration = configuration_text(&self.dir, repo, self.address, answers);
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

    /// How it answers now.
    pub fn answers(&self) -> Answers {
        self.answers
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        std::fs::read_to_string(self.dir.join("access.log")).unwrap_or_default().lines().count() as u64
    }

    /// Its process, to count it or to pause it.
    pub fn process(&self) -> &Process {
        &self.process
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

fn configuration_text(dir: &Path, repo: &Path, address: SocketAddr, answers: Answers) -> String {
    let (dir, repo) = (dir.display(), repo.display());
    let how = match answers {
        Answers::Well | Answers::Corrupt => String::new(),
        Answers::WithoutRanges => "max_ranges 0;".to_owned(),
        Answers::Status(status) => format!("location / {{ return {status}; }}"),
    };
    format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/error.log warn;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
           log_format counted '$bytes_sent $status $request_method $request_uri $http_range';\n\
           access_log {dir}/access.log counted;\n\
           client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n\
           uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n\
           sendfile on; keepalive_timeout 65; default_type application/octet-stream;\n\
           server {{ listen {address}; root {repo}; {how} }}\n\
         }}\n"
    )
}
