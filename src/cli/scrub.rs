//! `sejf scrub`: every byte of every copy, without keys.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::archive::with_places;
use crate::cli::vault::HomeArg;
use crate::cli::{copies, text};
use crate::shell::clock;
use crate::shell::vault::place::Pace;
use crate::shell::vault::scrub::{Cursors, scrub};

/// Reads copies and compares them with their SHA-256, those first that were not read for the longest time; mends what
/// is wrong from a good copy. Takes no key. Killed, it goes on where it was. Exit code 1 where something was wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    home: HomeArg,
    /// Read what was not read for so many days; 0 reads all.
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: u32,
    /// Read at most so many MB a second from each place.
    #[arg(long, value_name = "MB")]
    rate: Option<u64>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    with_places(&args.home, async |_, copier| {
        let before = clock::now().before(Duration::from_secs(u64::from(args.days) * 24 * 3_600));
        let pace = Pace { bytes_per_second: args.rate.map(|rate| rate.saturating_mul(1_000_000)) };
        let scrubbed = scrub(copier, before, pace, &mut Cursors::new(), &|| false).await?;
        let mut out = std::io::stdout().lock();
        let (copies, wrong) = (scrubbed.copies, scrubbed.wrong_count);
        writeln!(out, "{copies} copies read, {}: {wrong} wrong", text::bytes(scrubbed.bytes))?;
        for finding in &scrubbed.wrong {
            let said = format!("{} in {}: {}", finding.id, finding.place, finding.what);
            writeln!(out, "wrong: {}", text::clean_line(&said))?;
        }
        if wrong > 0 {
            copies::write_report(&mut out, &scrubbed.mending)?;
        }
        for place in &scrubbed.unread {
            writeln!(out, "not read: {}", text::clean_line(place))?;
        }
        let more = scrubbed.unread_count - scrubbed.unread.len() as u64;
        if more > 0 {
            writeln!(out, "and {more} more were not read")?;
        }
        Ok(if wrong == 0 && scrubbed.unread.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    })
}
