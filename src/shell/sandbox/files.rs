//! Landlock: what is left of the file system and of TCP.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

use crate::shell::sandbox::Paths;

/// Leaves `paths` and the few files of the system that a recorder reads. Which ABI of the kernel that was.
pub(super) fn restrict(paths: &Paths) -> Result<String, String> {
    let failed = |error: landlock::RulesetError| format!("Landlock: {error}");
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    // Without a rule for a port, all are denied; sockets that listen already go on.
    let mut rules = ruleset
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    for path in &paths.writable {
        rules = allow(rules, path, KEEP)?;
    }
    for path in &paths.readable {
        rules = allow(rules, path, LOOK)?;
    }
    for (path, access) in SYSTEM {
        if Path::new(path).exists() {
            rules = allow(rules, Path::new(path), *access)?;
        }
    }
    let status = rules.restrict_self().map_err(failed)?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(format!("Landlock ABI {abi}, all that is asked for")),
        RulesetStatus::PartiallyEnforced => Ok(format!(
            "Landlock ABI {abi}, in part: TCP rules need ABI 4 (Linux 6.7), scopes ABI 6 (Linux 6.12)"
        )),
        RulesetStatus::NotEnforced => Err("the kernel has no Landlock, or it is off: \
             Linux 5.13 with `landlock` in the `lsm=` boot parameter has it"
            .into()),
    }
}

fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, String> {
    let opened = PathFd::new(path).map_err(|error| format!("opening `{}`: {error}", path.display()))?;
    // The kernel refuses rights of directories on a file.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    let added = rules.add_rule(PathBeneath::new(opened, access));
    added.map_err(|error| format!("a rule for `{}`: {error}", path.display()))
}

/// What is asked for; an older kernel gives what it has.
const KNOWN: ABI = ABI::V8;

/// Files and folders, made and removed, but no devices, sockets, links to elsewhere and programs.
const KEEP: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    WriteFile | ReadFile | ReadDir | RemoveDir | RemoveFile | MakeDir | MakeReg | Refer | Truncate
});

const LOOK: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// What a recorder reads of the system: its own state, the interfaces' state, the time zone.
const SYSTEM: &[(&str, BitFlags<AccessFs>)] = &[
    ("/proc/self", LOOK),
    ("/sys/class/net", LOOK),
    ("/sys/devices", LOOK),
    ("/etc/localtime", LOOK),
    ("/usr/share/zoneinfo", LOOK),
    ("/dev/null", make_bitflags!(AccessFs::{ReadFile | WriteFile})),
];
