//! `opsroom completions SHELL`.

use clap::CommandFactory as _;

use super::{Cli, Context, fault::exit};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom completions bash > ~/.local/share/bash-completion/completions/opsroom
  opsroom completions zsh > \"${fpath[1]}/_opsroom\"
  opsroom completions fish > ~/.config/fish/completions/opsroom.fish")]
pub struct Options {
    /// bash, zsh, fish, elvish or powershell
    shell: clap_complete::Shell,
}

pub fn execute(context: &Context, options: &Options) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "opsroom", &mut script);
    context.out.bytes(&script);
    exit::SUCCESS
}
