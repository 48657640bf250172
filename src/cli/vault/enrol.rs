//! `sejf vault enrol`: lets a recorder send.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::archive::access::{Action, Request};
use crate::archive::entry::{Outcome, Resource};
use crate::cli::vault::HomeArg;
use crate::seal::note::VerifyKey;
use crate::shell::clock;
use crate::shell::vault::intake::serve::TLS;
use crate::shell::vault::intake::tls::{Authority, write};

/// Issues a certificate with which a recorder sends to this vault, and nothing else; it is good for two years. The vault
/// is its own authority, made at the first use. To revoke a certificate, write its SHA-256 as a line into tls/revoked in
/// the vault's home: that counts from the next request on, over connections that are open too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// The recorder's public key: `recorder.pub` beside its receipts has it.
    #[arg(long, value_name = "KEY")]
    recorder: String,
    /// Certificate request (PKCS#10 in PEM) of a recorder that keeps its own key; without, a key is made.
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Folder for what the recorder needs; made where it is missing.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let vault = args.home.open()?;
    let recorder: VerifyKey = args.recorder.trim().parse().context("--recorder")?;
    let request = args
        .csr
        .as_ref()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display())));
    let request = request.transpose()?;
    let now = clock::now();
    let (actor, resource) = (vault.actor(&[]), Resource::Recorder(recorder.to_string()));
    let request_of = Request { actor: &actor, action: Action::Configure, resource, reason: None, now };
    let grant = vault.log.ask(&request_of)?;
    let authority = Authority::open(&vault.home.join(TLS), &vault.config.vault.name, now)?;
    let enrolled = authority.enrol(&recorder, request.as_deref(), now)?;
    let details = serde_json::json!({ "certificate": enrolled.fingerprint });
    vault.log.outcome(&grant, Outcome::Done(details))?;
    std::fs::create_dir_all(&args.to).with_context(|| format!("making folder `{}`", args.to.display()))?;
    write(&args.to.join("authority.pem"), authority.pem().as_bytes())?;
    write(&args.to.join("recorder.pem"), enrolled.certificate.as_bytes())?;
    if let Some(key) = &enrolled.key {
        write(&args.to.join("recorder.key"), key.as_bytes())?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "certificate {}", enrolled.fingerprint)?;
    writeln!(out, "name {}", authority.server_name())?;
    writeln!(out, "pin {}", authority.pin(now)?)?;
    Ok(ExitCode::SUCCESS)
}
