//! The folder of orders: a file that exists is one.

use lockstep_plugin_api::prelude::*;
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
    time::Duration,
};

/// How long a component that was told to wait sleeps between two looks at its orders.
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// The folder.
pub struct Orders(PathBuf);

impl Orders {
    pub fn open(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// `NotConnected` while the file `down` exists.
    pub fn reach_endpoint(&self) -> Result<()> {
        if self.is_given("down") {
            Err(Error::not_connected("the probe was told to be down"))
        } else {
            Ok(())
        }
    }

    pub fn is_given(&self, order: &str) -> bool {
        self.0.join(order).exists()
    }

    /// Whether an order is given that is for one time only; it is not given any more then.
    pub fn take(&self, order: &str) -> bool {
        fs::remove_file(self.0.join(order)).is_ok()
    }

    /// The lines of an order; none if it is not given.
    pub fn keys(&self, order: &str) -> Vec<String> {
        fs::read_to_string(self.0.join(order))
            .map(|text| text.lines().map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// A file of the folder, to append to.
    pub fn record(&self, name: &str) -> Result<Recording> {
        Ok(Recording(OpenOptions::new().create(true).append(true).open(self.0.join(name))?))
    }
}

/// A file that lines are appended to, a whole batch with one write.
pub struct Recording(File);

impl Recording {
    pub fn append<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut text = String::new();
        lines.for_each(|line| {
            text.push_str(line);
            text.push('\n');
        });
        Ok(self.0.write_all(text.as_bytes())?)
    }
}
