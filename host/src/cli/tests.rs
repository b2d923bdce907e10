//! The command line as it is parsed: what is taken, what is refused, and that help teaches.

use super::Cli;
use clap::{CommandFactory, Parser, error::ErrorKind};

/// Whether a line is taken, else why not.
fn parse(line: &str) -> Result<(), ErrorKind> {
    Cli::try_parse_from(line.split_whitespace()).map(drop).map_err(|error| error.kind())
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_is_taken_as_its_help_shows_it() {
    let mut commands = vec![Cli::command()];
    let mut n_examples = 0;
    while let Some(command) = commands.pop() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        for example in examples.map(|line| line.trim_start().split("  ").next().unwrap_or_default()) {
            // Variables before the command and what the shell does after it are not ours to parse.
            let words = example.split_whitespace().skip_while(|word| *word != "lockstep");
            let words: Vec<_> = words.take_while(|word| !["|", ">", "<"].contains(word)).collect();
            assert_eq!(parse(&words.join(" ")), Ok(()), "{example}");
            n_examples += 1;
        }
        commands.extend(command.get_subcommands().cloned());
    }
    assert!(n_examples > 15, "{n_examples} examples were found");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (line, expected) in [
        ("lockstep", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("lockstep validat", ErrorKind::InvalidSubcommand),
        ("lockstep run", ErrorKind::MissingRequiredArgument),
        ("lockstep validate", ErrorKind::MissingRequiredArgument),
        ("lockstep dlq retry", ErrorKind::MissingRequiredArgument),
        ("lockstep dlq retry 1 --all", ErrorKind::ArgumentConflict),
        ("lockstep dlq drop 1 --pipeline a", ErrorKind::ArgumentConflict),
        ("lockstep dlq show one", ErrorKind::ValueValidation),
        ("lockstep completions cmd", ErrorKind::InvalidValue),
    ] {
        assert_eq!(parse(line), Err(expected), "{line}");
    }
}
