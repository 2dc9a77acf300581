//! Ctrl-C as a flag that loops look at, for the commands that end with a summary.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once the person at the keyboard (or the system) has asked for an end.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM set the flag; a second one ends the process as it would without.
    pub fn listen() -> Result<Interrupt, String> {
        let flag = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
        let asked = flag.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    wait().await;
                    asked.store(true, Ordering::Relaxed);
                    wait().await;
                    std::process::exit(130);
                });
            })
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
        Ok(Interrupt(flag))
    }

    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn wait() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
