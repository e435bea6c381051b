//! Who else has to find things in the state folder, and own sockets there. As root, varnishd gives its worker, which connects to them, another user.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

/// The worker's user in varnishd's default jail for root (varnishd(1), `-j unix`).
const WORKER: &str = "vcache";

/// Gives a file to varnishd's worker, if that has another user than we.
///
/// # Errors
/// When the system does not let us.
pub fn hand_over(path: &Path) -> io::Result<()> {
    worker().map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid)))
}

/// Lets varnishd's worker pass through a folder of ours, if it has another user than we.
///
/// # Errors
/// When the system does not let us.
pub fn let_pass(folder: &Path) -> io::Result<()> {
    let Some((_, gid)) = worker() else { return Ok(()) };
    chown(folder, None, Some(gid))?;
    fs::set_permissions(folder, Permissions::from_mode(0o710))
}

fn worker() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    user(&fs::read_to_string("/etc/passwd").ok()?, WORKER)
}

/// Numbers of user and group, from lines as in passwd(5).
fn user(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map_while(|field| field.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn users_are_found_by_name() {
        let users = "root:x:0:0::/root:/bin/sh\nvcache2:x:1:2::/:\nvcache:x:103:105::/nonexistent:/x\n";
        assert_eq!(user(users, "vcache"), Some((103, 105)));
        assert_eq!((user(users, "varnish"), user("vcache:x", "vcache")), (None, None));
    }
}
