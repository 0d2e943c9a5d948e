//! A bar on the terminal while logs are read; nothing where nobody looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Fewer bytes than this are read before anybody could see a bar.
const WORTH_A_BAR: u64 = 16 << 20;

pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Hidden, unless standard error is a terminal.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        if let Ok(style) =
            ProgressStyle::with_template("reading logs {bar:30} {bytes}/{total_bytes}, {eta} left")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn at(&self, done: u64, all: u64) {
        if all >= WORTH_A_BAR {
            self.0.set_length(all);
            self.0.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
