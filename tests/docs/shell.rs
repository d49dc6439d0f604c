//! A line of shell as far as the book needs it taken apart: its simple commands and their words.

/// Commands of a line, in their order, each as words without quotes; redirections are left out.
pub(crate) fn commands(line: &str) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = vec![Vec::new()];
    let (mut word, mut quote, mut redirected) = (String::new(), None, false);
    let mut begun = false;
    for c in line.chars().chain(['\n']) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => (quote, begun) = (Some(c), true),
            None if c == '#' && !begun => break,
            None if c.is_whitespace() || "|&;<>".contains(c) => {
                if begun && !std::mem::take(&mut redirected) {
                    found.last_mut().unwrap().push(word.clone());
                }
                if "|&;".contains(c) {
                    found.push(Vec::new());
                }
                redirected |= "<>".contains(c);
                word.clear();
                begun = false;
            }
            None => {
                word.push(c);
                begun = true;
            }
        }
    }
    found.retain(|words| !words.is_empty());
    found
}

/// The command itself, without variables set for it and without who or where it is run as: `sudo`, `ssh`, a container. Where
/// nothing else is left, all of it.
pub(crate) fn bare(words: &[String]) -> &[String] {
    let Some((first, rest)) = words.split_first() else { return words };
    let flags = |rest: &[String]| rest.iter().take_while(|word| word.starts_with('-')).count();
    let within = match &first[..] {
        "sudo" if rest.first().is_some_and(|word| word == "-u") => rest.get(2..),
        "sudo" => Some(rest),
        "ssh" => rest.get(flags(rest) + 1..),
        "docker" if rest.starts_with(&["compose".to_owned(), "exec".to_owned()]) => {
            rest.get(2 + flags(&rest[2..]) + 1..)
        }
        _ if is_variable(first) => Some(rest),
        _ => None,
    };
    match within {
        Some(within) if !within.is_empty() => bare(within),
        _ => words,
    }
}

fn is_variable(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || "_0123456789".contains(c)))
}
