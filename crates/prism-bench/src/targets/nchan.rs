//! nginx with the module nchan, as a distribution installs them.
//!
//! This process opens the listening socket, prints its address, and executes nginx, which inherits
//! the socket the way nginx does in an upgrade of its binary. So any free port can be used, and the
//! process is ended like that of every other target.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};

use super::contract::{PUBLISH_PATH, SUBSCRIBE_PATH, print_ready};
use crate::cli::ServeTargetArgs;

/// The paths of nginx in distributions.
const PROGRAMS: &[&str] = &["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];

/// The paths of nchan in distributions.
const MODULES: &[&str] = &[
    "/usr/lib/nginx/modules/ngx_nchan_module.so",
    "/usr/lib64/nginx/modules/ngx_nchan_module.so",
    "/usr/share/nginx/modules/ngx_nchan_module.so",
];

/// Number of messages that are kept for subscribers a little behind, if there is no history.
const LIVE_EVENTS: usize = 200;

/// Most connections of one worker process.
const CONNECTIONS: usize = 19_900;

/// Executes nginx in this process.
pub(super) fn serve(address: SocketAddr, args: &ServeTargetArgs) -> Result<()> {
    let (Some(program), Some(module)) = (first(PROGRAMS), first(MODULES)) else {
        bail!(
            "nginx with nchan is not installed; on Debian, `apt-get install libnginx-mod-nchan` \
             installs both"
        );
    };
    let listener = TcpListener::bind(address).context("the address is not free")?;
    let address = listener.local_addr()?;
    let directory = directory(std::process::id());
    fs::create_dir_all(&directory)
        .context("the directory of nginx's configuration cannot be made")?;
    let config = directory.join("nginx.conf");
    fs::write(&config, configuration(address, module, args))?;
    // nginx does not set options of an inherited socket.
    listener.set_nonblocking(true)?;
    fcntl_setfd(&listener, FdFlags::empty())?;
    print_ready(address)?;
    let error = Command::new(program)
        .arg("-p")
        .arg(&directory)
        .arg("-c")
        .arg(&config)
        // Errors of the start are printed to standard error all the same.
        .args(["-e", "/dev/null"])
        .env("NGINX", format!("{};", listener.as_raw_fd()))
        .exec();
    Err(error).context("nginx does not start")
}

/// Removes the files of the target with this process id, if it has any.
pub(crate) fn remove_files(pid: u32) {
    // Only this target has files.
    drop(fs::remove_dir_all(directory(pid)));
}

fn directory(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("prism-bench-nginx-{pid}"))
}

fn first(paths: &[&'static str]) -> Option<&'static str> {
    paths.iter().copied().find(|path| Path::new(path).exists())
}

fn configuration(address: SocketAddr, module: &str, args: &ServeTargetArgs) -> String {
    let workers = args.workers;
    let history = args.history.unwrap_or(LIVE_EVENTS);
    let ping = if args.heartbeats { "15s" } else { "0" };
    let open_files = CONNECTIONS + 100;
    format!(
        "load_module {module};
daemon off;
worker_processes {workers};
worker_rlimit_nofile {open_files};
pid nginx.pid;
error_log stderr crit;
events {{
    worker_connections {CONNECTIONS};
    multi_accept on;
}}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    client_header_buffer_size 512;
    connection_pool_size 256;
    request_pool_size 512;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    nchan_message_buffer_length {history};
    nchan_message_timeout 1h;
    nchan_shared_memory_size 512M;
    server {{
        listen {address};
        location = {SUBSCRIBE_PATH} {{
            nchan_subscriber eventsource;
            nchan_channel_id everybody;
            nchan_subscriber_first_message newest;
            nchan_eventsource_ping_interval {ping};
        }}
        location = {PUBLISH_PATH} {{
            nchan_publisher http;
            nchan_channel_id everybody;
        }}
        location ~ ^/topics/(.+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
            nchan_eventsource_ping_interval {ping};
        }}
        location ~ ^/publish/(.+)$ {{
            nchan_publisher http;
            nchan_channel_id $1;
        }}
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_what_was_asked_for() {
        let args = ServeTargetArgs {
            target: crate::cli::Target::NginxNchan,
            port: 0,
            workers: 3.try_into().unwrap(),
            cores: Vec::new(),
            heartbeats: true,
            history: Some(77),
            private: false,
            hub: None,
            die_with_parent: false,
        };
        let address = "127.0.0.1:8080".parse().unwrap();
        let text = configuration(address, "/m.so", &args);
        for line in [
            "load_module /m.so;",
            "worker_processes 3;",
            "listen 127.0.0.1:8080;",
            "nchan_message_buffer_length 77;",
            "nchan_eventsource_ping_interval 15s;",
            "location = /events {",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
