//! Ranges of a log that one process alone can open, for other processes of this machine: the engine that has the embedded
//! log open hands them out on a Unix socket in its data directory, and a command asks there.
//!
//! Who may open the socket may read the log's files as well: only processes of the engine's user and of root are answered,
//! whatever the directory's permissions are. Nothing of it can be reached by the network.

mod client;
mod server;
mod wire;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

pub use client::{NotReached, RunningLog};
pub use server::LocalRanges;

/// The socket's file within the data directory.
pub const SOCKET_FILE: &str = "log.sock";

/// Addresses of Unix sockets have room for 107 bytes.
const MAX_PATH_BYTES: usize = 107;

/// An address of the socket in this directory, to be used while the file, if there is one, is open.
fn address(directory: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = directory.join(SOCKET_FILE);
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return Ok((path, None));
    }
    // The same directory under a shorter name.
    let opened = File::open(directory)?;
    let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", opened.as_raw_fd());
    Ok((path.into(), Some(opened)))
}
