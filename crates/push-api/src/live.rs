//! Settings that hold anew as soon as their file changes: keys are given out and taken away without a restart.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// A change holds after two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a setting says just now. Cheap to clone; all clones say the same.
pub struct Live<T>(Arc<RwLock<Arc<T>>>);

impl<T> Live<T> {
    /// As it was read.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// What holds now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    /// The file that it is read from anew. Problems must not repeat the content: they are logged.
    #[must_use]
    pub fn file(
        &self,
        setting: &'static str,
        path: PathBuf,
        parse: fn(&str) -> Result<T, String>,
    ) -> SettingFile {
        self.files(setting, vec![path], parse)
    }

    /// Several files that are one value, one after the other: they count when all of them have been written.
    #[must_use]
    pub fn files(
        &self,
        setting: &'static str,
        paths: Vec<PathBuf>,
        parse: fn(&str) -> Result<T, String>,
    ) -> SettingFile {
        let live = self.clone();
        let take = move |text: &str| parse(text).map(|value| live.set(value));
        SettingFile {
            setting,
            paths,
            take: Arc::new(take),
        }
    }
}

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Takes a new content, or says what is wrong with it.
type Take = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// What a setting is read from.
#[derive(Clone)]
pub struct SettingFile {
    setting: &'static str,
    paths: Vec<PathBuf>,
    take: Arc<Take>,
}

impl fmt::Debug for SettingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.setting, self.told_paths())
    }
}

impl SettingFile {
    fn told_paths(&self) -> String {
        let paths = self.paths.iter().map(|path| path.display().to_string());
        paths.collect::<Vec<_>>().join(" and ")
    }

    async fn read(&self) -> Result<String, String> {
        let mut whole = Vec::new();
        for path in &self.paths {
            let read = tokio::fs::read_to_string(path).await;
            let text = read.map_err(|error| format!("cannot be read: {error}"))?;
            whole.push(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        Ok(whole.join("\n"))
    }
}

/// Reads the files again and again, until `stop`. By content and not by time or events: whoever mounts a file may swap
/// links, and write as he likes.
pub async fn watch(files: Vec<SettingFile>, stop: CancellationToken) {
    let mut files: Vec<_> = files.into_iter().map(Watched::new).collect();
    let looking = async {
        loop {
            for file in &mut files {
                file.look().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _stopped = stop.run_until_cancelled(looking).await;
}

/// What a look saw, told apart from others.
type Sight = [u8; 32];

struct Watched {
    file: SettingFile,
    before: Option<Sight>,
    judged: Option<Sight>,
}

impl Watched {
    fn new(file: SettingFile) -> Self {
        metrics::reload_failed(file.setting, false);
        Self {
            file,
            before: None,
            judged: None,
        }
    }

    /// A new content counts when it is seen a second time: one that is written in place may be half there. Each is judged
    /// and told of once.
    async fn look(&mut self) {
        let read = self.file.read().await;
        let sight = Some(match &read {
            Ok(text) => Sha256::digest(text).into(),
            Err(problem) => Sha256::digest(problem).into(),
        });
        let still = std::mem::replace(&mut self.before, sight) == sight;
        if !still || self.judged == sight {
            return;
        }
        let first = std::mem::replace(&mut self.judged, sight).is_none();
        let taken = read.and_then(|text| (self.file.take)(&text));
        let (setting, path) = (self.file.setting, self.file.told_paths());
        metrics::reload_failed(setting, taken.is_err());
        match taken {
            Ok(()) if first => {}
            Ok(()) => tracing::info!(setting, path, "read anew: it holds from now on"),
            Err(problem) => {
                tracing::error!(
                    setting,
                    path,
                    problem,
                    "the file cannot be used: what it said before holds on"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_good_content_holds_after_two_looks_and_a_bad_one_never() {
        let path = std::env::temp_dir().join(format!("push-api-live-{}", std::process::id()));
        let live = Live::new("first".to_owned());
        let parse = |text: &str| match text {
            "bad" => Err("is bad".to_owned()),
            text => Ok(text.to_owned()),
        };
        let mut watched = Watched::new(live.file("NAME", path.clone(), parse));
        let mut after = async |content: Option<&str>| {
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            watched.look().await;
            let once = live.get().to_string();
            watched.look().await;
            (once, live.get().to_string())
        };
        let told = |once: &str, twice: &str| (once.to_owned(), twice.to_owned());
        assert_eq!(after(Some("first\n")).await, told("first", "first"));
        assert_eq!(after(Some("second\r\n")).await, told("first", "second"));
        assert_eq!(after(Some("bad")).await, told("second", "second"));
        assert_eq!(after(None).await, told("second", "second"));
        assert_eq!(after(Some("third")).await, told("second", "third"));
        std::fs::remove_file(&path).unwrap();
    }
}
