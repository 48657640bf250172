//! Memory that no file and no other process gets to see.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Leaves no core file, and lets no other process of this user look into memory.
pub fn no_core_dumps() -> Result<String, String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| format!("setting RLIMIT_CORE to 0: {error}"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("PR_SET_DUMPABLE: {error}"))?;
    Ok("off".into())
}

/// Keeps memory, now and later, from being swapped out.
pub(super) fn lock() -> Result<String, String> {
    let unlimited = Rlimit { current: None, maximum: None };
    // Allowed to root in most places.
    let _ = setrlimit(Resource::Memlock, unlimited);
    if let Some(bytes) = getrlimit(Resource::Memlock).current {
        // The capability that lifts the limit is given up next. From then on each mapping above the limit
        // would fail: a recorder out of memory for the sake of a lock is no gain.
        return Err(format!(
            "RLIMIT_MEMLOCK is {bytes} bytes: set LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`"
        ));
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(|error| {
        format!("mlockall: {error}; RLIMIT_MEMLOCK is unlimited, so a system policy forbids it")
    })?;
    Ok("all pages, as they are first touched".into())
}
