//! `sejf top`: a running recorder, live.

mod app;
#[cfg(test)]
mod tests;
mod view;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::cli::call;
use crate::cli::status::SocketArg;
use crate::cli::text::{bits_per_s, clean_line, grouped};
use crate::cli::top::app::{App, Flow};
use crate::cli::top::view::Theme;
use crate::shell::control_client::{Client, ClientError};
use crate::shell::status::snapshot::{LiveCall, Snapshot};

/// Shows a running recorder on the full screen: rates, drops, and the calls that go on. `?` shows the keys.
///
/// Where the output is no terminal, prints a line a second.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: SocketArg,
    /// Show who speaks, where the configuration permits it.
    #[arg(long)]
    parties: bool,
    /// Print the calls once, as a table.
    #[arg(long)]
    once: bool,
}

/// What was heard, or why nothing was.
type Heard = Result<(Snapshot, Vec<LiveCall>), ClientError>;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // What is wrong at once is said before the screen is taken.
    let mut client = Client::connect(&args.socket.socket)?;
    let first = hear(&mut client, args.parties)?;
    if args.once {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", summary(&first.0))?;
        write!(out, "{}", call::table(&first.1, first.0.now))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (sender, heard) = bounded(1);
    let (socket, parties) = (args.socket.socket.clone(), args.parties);
    thread::Builder::new()
        .name("ask".into())
        .spawn(move || keep_asking(client, &socket, parties, &sender))?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return lines(&first.0, &heard);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let mut app = App::default();
    app.heard(first.0, first.1);
    let mut terminal = ratatui::try_init()?;
    let outcome = full_screen(&mut terminal, &mut app, &heard, &stop);
    ratatui::restore();
    outcome?;
    Ok(ExitCode::SUCCESS)
}

fn full_screen(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    heard: &Receiver<Heard>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let theme = Theme { color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    while !stop.load(Ordering::Relaxed) {
        terminal.draw(|frame| view::draw(frame, app, theme))?;
        if event::poll(LOOK_EVERY)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && app.key(key) == Flow::Quit
        {
            break;
        }
        for heard in heard.try_iter() {
            match heard {
                Ok((snapshot, calls)) => app.heard(snapshot, calls),
                Err(error) => app.unheard(error.to_string()),
            }
        }
    }
    Ok(())
}

/// A line a second, for a pipe or a file.
fn lines(first: &Snapshot, heard: &Receiver<Heard>) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", summary(first))?;
    for heard in heard {
        writeln!(out, "{}", summary(&heard?.0))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(status: &Snapshot) -> String {
    let (rates, drops) = (&status.rates, &status.drops);
    let time = status.now.to_string();
    let mut text = format!(
        "{}Z  {} pkt/s  {}  {} calls  dropped {}",
        time.split('.').next().unwrap_or_default(),
        grouped(rates.packets_per_s as u64),
        bits_per_s(rates.bits_per_s),
        grouped(status.calls.live),
        grouped(drops.kernel + drops.queue),
    );
    for reason in &status.health.reasons {
        text.push_str("  ! ");
        text.push_str(&clean_line(reason));
    }
    text
}

/// Asks every second, and connects again where the recorder has gone, until nobody listens.
fn keep_asking(mut client: Client, socket: &Path, parties: bool, heard: &Sender<Heard>) {
    loop {
        thread::sleep(ASK_EVERY);
        let mut answer = hear(&mut client, parties);
        if answer.is_err() {
            answer = Client::connect(socket).and_then(|again| {
                client = again;
                hear(&mut client, parties)
            });
        }
        if heard.send(answer).is_err() {
            return;
        }
    }
}

fn hear(client: &mut Client, parties: bool) -> Heard {
    Ok((client.status()?, client.calls(parties)?))
}

const ASK_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);
