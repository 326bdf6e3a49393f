//! `pushctl completions` and `pushctl man`: what shells and readers of manuals need, from the definition of the commands.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man as Page;

use crate::commands::Cli;
use crate::failure::Failure;
use crate::screen::Screen;

/// For which shell.
#[derive(clap::Args, Debug)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Where to.
#[derive(clap::Args, Debug)]
pub struct Man {
    /// Write the pages of all commands here; without it the page of pushctl is printed
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

impl Completions {
    /// Prints it.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pushctl", &mut script);
        print(&script)
    }
}

impl Man {
    /// Prints or writes them.
    pub fn run(self) -> Result<(), Failure> {
        let Some(dir) = self.dir else {
            let mut page = Vec::new();
            Page::new(Cli::command()).render(&mut page)?;
            return print(&page);
        };
        fs::create_dir_all(&dir).map_err(|error| cannot(&dir, &error))?;
        clap_mangen::generate_to(Cli::command(), &dir).map_err(|error| cannot(&dir, &error))
    }
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    Screen::new(false).text(&String::from_utf8_lossy(bytes))
}

fn cannot(dir: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("cannot write to {}: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_manual_page_has_every_command_and_exit_code() {
        let mut page = Vec::new();
        Page::new(Cli::command()).render(&mut page).unwrap();
        // A hyphen that stays one is written so.
        let page = String::from_utf8(page).unwrap().replace("\\-", "-");
        for command in Cli::command().get_subcommands() {
            assert!(page.contains(command.get_name()), "{}", command.get_name());
        }
        for exit in Exit::ALL {
            assert!(page.contains(exit.meaning()), "{}", exit.meaning());
        }
    }
}
