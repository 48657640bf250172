//! seccomp: the system calls that recording needs. The list is short on purpose and long enough for what
//! glibc, the standard library, tokio and libpcap do on sockets that are open already.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// What a system call outside the list gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unexpected {
    /// `EPERM`. A library that learns a new call, or an odd path at night, then costs one operation, which
    /// its caller counts and tells, and not all calls in progress.
    Refuse,
    /// The process dies. For tests, which must find what is missing in the list.
    Kill,
}

/// Leaves the calls of the list.
pub(super) fn restrict(unexpected: Unexpected) -> Result<String, String> {
    let rules = rules().map_err(|error| format!("seccomp: {error}"))?;
    let count = rules.len();
    let otherwise = match unexpected {
        Unexpected::Refuse => SeccompAction::Errno(libc::EPERM as u32),
        Unexpected::Kill => SeccompAction::KillProcess,
    };
    // clone3 has its flags in memory, where a filter cannot look. libc knows the answer of an old kernel
    // and takes clone.
    let unseen = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let old = SeccompAction::Errno(libc::ENOSYS as u32);
    install(unseen, SeccompAction::Allow, old)?;
    install(rules, otherwise, SeccompAction::Allow)?;
    Ok(format!("{count} system calls are left"))
}

fn install(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<(), String> {
    let machine = std::env::consts::ARCH;
    let target = machine.try_into().map_err(|_| format!("seccomp: no filter for {machine} machines"))?;
    let filter = SeccompFilter::new(rules, otherwise, matched, target);
    let program: BpfProgram =
        filter.and_then(TryInto::try_into).map_err(|error| format!("seccomp: {error}"))?;
    apply_filter(&program)
        .map_err(|error| format!("seccomp: {error}: the kernel needs CONFIG_SECCOMP_FILTER"))
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    for call in ALLOWED.iter().chain(ALLOWED_OLD) {
        rules.insert(*call, Vec::new());
    }
    let (equal, bits) = (SeccompCmpOp::Eq, |mask: u64| SeccompCmpOp::MaskedEq(mask));
    let thread = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
    let executable = libc::PROT_EXEC as u64;
    let own = u64::from(std::process::id());
    let unix = libc::AF_UNIX as u64;
    // (call, argument, comparison, value): any of those of a call lets it through.
    let mut narrow = vec![
        // Threads, never processes.
        (libc::SYS_clone, 0, bits(thread), thread),
        // No page becomes code.
        (libc::SYS_mmap, 2, bits(executable), 0),
        (libc::SYS_mprotect, 2, bits(executable), 0),
        // `abort`, and a thread of ours that is woken.
        (libc::SYS_tgkill, 0, equal.clone(), own),
        // Limits are read, not set.
        (libc::SYS_prlimit64, 2, equal.clone(), 0),
        // For asking after an interface by its name, and for waking an event loop. There is no `connect`.
        (libc::SYS_socket, 0, equal.clone(), unix),
        (libc::SYS_socketpair, 0, equal.clone(), unix),
    ];
    narrow.extend(PRCTLS.iter().map(|option| (libc::SYS_prctl, 0, equal.clone(), *option as u64)));
    narrow.extend(IOCTLS.iter().map(|request| (libc::SYS_ioctl, 1, equal.clone(), *request)));
    for (call, argument, operator, value) in narrow {
        let width = match call {
            libc::SYS_prlimit64 | libc::SYS_clone => SeccompCmpArgLen::Qword,
            _ => SeccompCmpArgLen::Dword,
        };
        let condition = SeccompCondition::new(argument, width, operator, value)?;
        rules.entry(call).or_default().push(SeccompRule::new(vec![condition])?);
    }
    Ok(rules)
}

/// `PR_SET_NAME`, `PR_GET_NAME`, and naming of heap mappings by libc.
const PRCTLS: &[i32] = &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];

/// What sockets, terminals and interfaces are asked; no `TIOCSTI`, which types into the terminal.
const IOCTLS: &[u64] = &[
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::TCGETS,
    libc::TIOCGWINSZ,
    libc::SIOCGIFNAME,
    libc::SIOCGIFINDEX,
    libc::SIOCGIFFLAGS,
    libc::SIOCGIFMTU,
    libc::SIOCGIFHWADDR,
    0x8946, // SIOCETHTOOL
];

/// On every machine.
const ALLOWED: &[i64] = &[
    // Files.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // Memory. memfd_create: a long message to the journal.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munmap,
    // Threads. clone3: see `restrict`.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Time.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Sockets that are there. bind: a packet socket follows an interface that comes back.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Facts.
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// The same under names that newer machines never had.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[i64] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[i64] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_over_a_machine_is_not_in_the_list() {
        let rules = rules().unwrap();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_connect,
            libc::SYS_listen,
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_mount,
            libc::SYS_move_mount,
            libc::SYS_open_by_handle_at,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_kill,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_setuid,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_seccomp,
            libc::SYS_symlinkat,
        ] {
            assert!(!rules.contains_key(&call), "system call {call}");
        }
        for narrowed in [libc::SYS_clone, libc::SYS_mmap, libc::SYS_socket, libc::SYS_ioctl, libc::SYS_prctl]
        {
            assert!(!rules[&narrowed].is_empty(), "system call {narrowed} is open");
        }
    }
}
