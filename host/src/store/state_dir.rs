//! The state directory: what the daemon must still know after it was killed. Files are read whole and replaced whole.
//!
//! What stands in the files is their owners' business. Nothing of it is trusted because of where it lies: whoever reads a
//! file checks it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of the daemon's own. Only its user may enter it.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Makes the directory where it is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// A directory inside, made where it is missing.
    pub fn inside(&self, name: &str) -> io::Result<Self> {
        Self::open(&self.path.join(name))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file's content, at most `max` bytes of it; `None` when there is no such file.
    pub fn read(&self, name: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Room for all of it: a file of a megabyte would be moved again and again as it is read.
        let length = file.metadata()?.len().min(max) + 1;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{name} has more than {max} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Puts a file in place of the one of that name: whole, on the disk before it gets its name, readable by the
    /// daemon's user only. Who reads meanwhile gets the old one or the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let hidden = self.path.join(format!(".{name}.{}.{number}.tmp", std::process::id()));
        let written = (|| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&hidden)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&hidden, self.path.join(name))?;
            File::open(&self.path)?.sync_all()
        })();
        if written.is_err() {
            // What is left of a failed attempt helps nobody.
            let _ = fs::remove_file(&hidden);
        }
        written
    }

    /// One that is not there is as good as removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The names of the files, those left by an interrupted write not among them.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter(|name| !name.is_empty() && !name.starts_with('.')).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let state = StateDir::open(&directory.path().join("a/b")).expect("it is made");
        assert_eq!(state.read("x", 10).expect("readable"), None);
        for content in ["one", "three", ""] {
            state.write("x", content.as_bytes()).expect("writable");
            assert_eq!(state.read("x", 5).expect("readable").as_deref(), Some(content.as_bytes()));
        }
        state.write("x", b"longer").expect("writable");
        assert!(state.read("x", 5).is_err());
        assert_eq!(fs::read_dir(state.path()).expect("it is there").count(), 1);
        assert_eq!(state.list().expect("readable"), ["x"]);
        state.remove("x").expect("it is there");
        state.remove("x").expect("gone is gone");
        // A file where the directory should be.
        fs::write(directory.path().join("file"), "").expect("writable");
        assert!(StateDir::open(&directory.path().join("file")).is_err());
    }
}
