//! The text of a pipeline file, parsed, with the place of every value.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::env::Env;
use super::explain::explained;
use super::keys::join;
use super::mask::{self, Mask};
use super::overrides::{Override, OverrideValue, set};
use super::portable;
use super::problem::{Place, Problem, Problems};
use super::projects::{Projects, WrongProject};
use super::sensitive::is_telling_url;
use super::variables::{named_variables, substitute, variables};

/// Who has set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The pipeline file.
    File,
    /// Somebody else: what an [`Override`] says of itself.
    Outside(String),
}

/// A pipeline file: parsed, with variables and overrides put in.
#[derive(Debug)]
pub struct Document<'t> {
    origin: String,
    text: &'t str,
    root: DeTable<'t>,
    /// The same, with variables as they were written.
    written: DeTable<'t>,
    /// The overrides, as written. Number n has the span `text.len() + 1 + n`,
    /// which no value of the text can have.
    overrides: Vec<String>,
    expanded: BTreeSet<String>,
    /// The project that was chosen, where there are several.
    project: Option<String>,
    /// The variables that secrets come from.
    secret_variables: BTreeSet<String>,
    /// The keys whose values are of the wrong type, or unknown.
    unreadable: BTreeSet<String>,
    problems: Vec<Problem>,
    /// Where the lines begin that are not TOML.
    unparsed: BTreeSet<usize>,
    mask: Mask,
}

/// A pipeline file's text, parsed, before anything is put in.
#[derive(Debug)]
pub struct Parsed<'t> {
    text: &'t str,
    /// Without the projects.
    root: DeTable<'t>,
    projects: Projects<'t>,
    problems: Vec<Problem>,
    unparsed: BTreeSet<usize>,
    mask: Mask,
}

impl<'t> Parsed<'t> {
    /// Parses a text. Nothing fails here either.
    pub fn of(text: &'t str) -> Parsed<'t> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut root = root.into_inner();
        let mut mask = Mask::new(text, !errors.is_empty());
        let mut problems = Vec::new();
        let mut lines = BTreeSet::new();
        for error in errors {
            // What is said of the rest of a line follows from what its first
            // mistake is.
            let line = error.span().map(|span| line_start(text, span.start));
            if !lines.insert(line) {
                continue;
            }
            problems.push(Problem {
                path: String::new(),
                message: error.message().to_owned(),
                place: error.span().map_or(Place::Nowhere, Place::Text),
            });
        }
        // Before anything is left out.
        mask.collect(&root);
        Parsed {
            text,
            projects: Projects::take(&mut root),
            root,
            problems,
            unparsed: lines.into_iter().flatten().collect(),
            mask,
        }
    }

    /// Returns the names of the projects, in their order; none if there is no
    /// `[[project]]`, or the text cannot be read.
    pub fn projects(&self) -> Vec<String> {
        match self.problems.is_empty() {
            true => self.projects.names(),
            false => Vec::new(),
        }
    }

    /// Returns the table under `key`, as it is written, if there is one.
    pub fn table(&self, key: &str) -> Option<&DeTable<'t>> {
        match self.root.get(key)?.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        }
    }
}

/// So many entries that cannot be read are found in one table; for each, all of
/// it is read once more.
const MOST_UNREADABLE: usize = 100;

/// So many problems are told; to show one takes a look at the whole text.
const MOST_SHOWN: usize = 100;

impl<'t> Document<'t> {
    /// Parses `text`, replaces `${NAME}` and applies `overrides`.
    ///
    /// `origin` is what problems call the text. Each override is a key, a value
    /// and the argument as a person wrote it. Nothing fails here: what is wrong
    /// is kept and reported with everything else.
    pub fn parse(
        origin: &str,
        text: &'t str,
        env: &Env,
        overrides: &'t [Override],
    ) -> Document<'t> {
        Document::of(origin, &Parsed::of(text), env, overrides)
    }

    /// As [`parse`](Document::parse), of a text that is parsed already: of one for
    /// 1,000 projects a thousand documents come.
    pub fn of(
        origin: &str,
        parsed: &Parsed<'t>,
        env: &Env,
        overrides: &'t [Override],
    ) -> Document<'t> {
        let mut root = parsed.root.clone();
        let mut document = Document {
            origin: origin.to_owned(),
            text: parsed.text,
            root: DeTable::new(),
            written: DeTable::new(),
            overrides: Vec::new(),
            expanded: BTreeSet::new(),
            project: None,
            secret_variables: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            problems: parsed.problems.clone(),
            unparsed: parsed.unparsed.clone(),
            mask: parsed.mask.clone(),
        };
        for change in overrides {
            document.apply(&mut root, change);
        }
        match parsed.projects.choose(&mut root) {
            Ok(project) => document.project = project,
            Err(wrong) => document.wrong_project(wrong),
        }
        // Before and after, for what a variable's value is too.
        document.mask.collect(&root);
        document.written.clone_from(&root);
        document.expand_table(&mut root, "", env);
        document.mask.collect(&root);
        named_variables(&root, &mut document.secret_variables);
        document.root = root;
        document
    }

    /// Returns what another machine can build the same pipeline from: variables and
    /// defaults put in, but secrets as references to where that machine has them.
    ///
    /// Fails with the keys under which secrets stand as plain text.
    pub fn portable(&self) -> Result<Map<String, Value>, Vec<String>> {
        portable::table(&self.root, &self.written)
    }

    /// Returns the name of the project that was chosen, where there are several.
    pub(crate) fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Returns the table that a pipeline is.
    pub(crate) fn root(&self) -> &DeTable<'t> {
        &self.root
    }

    /// Returns the keys whose value came from outside the file, with their tables.
    pub(crate) fn expanded(&self) -> &BTreeSet<String> {
        &self.expanded
    }

    /// Returns the variables that secrets come from.
    pub(crate) fn secret_variables(&self) -> &BTreeSet<String> {
        &self.secret_variables
    }

    /// Returns the text or number at a dotted `path`, as it may be shown, and who
    /// has set it. Not for secrets.
    pub fn value(&self, path: &str) -> Option<(String, Origin)> {
        let mut segments = path.split('.');
        let mut found = place_of_entry(self.root.get_key_value(segments.next()?)?);
        for segment in segments {
            found = match found.1 {
                DeValue::Table(table) => place_of_entry(table.get_key_value(segment)?),
                DeValue::Array(items) => {
                    let item = items.get(segment.parse::<usize>().ok()?)?;
                    (item.span(), item.get_ref())
                }
                _ => return None,
            };
        }
        let text = match found.1 {
            DeValue::String(text) if is_telling_url(text) => mask::MASK.to_owned(),
            DeValue::String(text) => self.shown(text),
            DeValue::Integer(number) => number.to_string(),
            _ => return None,
        };
        let origin = match self.place(found.0) {
            Place::Override(argument) => Origin::Outside(argument),
            Place::Text(_) | Place::Nowhere => Origin::File,
        };
        Some((text, origin))
    }

    /// Adds a problem at the place of `path`, and keeps quiet about it and about
    /// `others` from then on: what is wrong with these would follow from it.
    pub fn unresolved(&mut self, path: &str, message: &str, others: &[&str]) {
        self.invalid(path, message);
        let quiet = [path].into_iter().chain(others.iter().copied());
        self.unreadable.extend(quiet.map(str::to_owned));
    }

    /// Returns what of a text may be shown.
    pub(crate) fn shown(&self, text: &str) -> String {
        self.mask.message(text)
    }

    /// Adds a problem at the place of `path`, or of the nearest table around it.
    ///
    /// Says nothing more of a value that could not even be read.
    pub(crate) fn invalid(&mut self, path: &str, message: impl Into<String>) {
        if self.unreadable.contains(path) {
            return;
        }
        let mut place = Place::Nowhere;
        let mut inside: Option<&DeValue<'t>> = None;
        for segment in path.split('.') {
            let (span, value) = match inside {
                None => match self.root.get_key_value(segment) {
                    Some(entry) => place_of_entry(entry),
                    None => break,
                },
                Some(DeValue::Table(table)) => match table.get_key_value(segment) {
                    Some(entry) => place_of_entry(entry),
                    None => break,
                },
                Some(DeValue::Array(items)) => {
                    match segment.parse().ok().and_then(|n: usize| items.get(n)) {
                        Some(item) => (item.span(), item.get_ref()),
                        None => break,
                    }
                }
                Some(_) => break,
            };
            place = self.place(span);
            inside = Some(value);
        }
        self.problem(path, message, place);
    }

    /// Adds the problem of a key at the top that nobody knows.
    pub(crate) fn unknown_key(&mut self, key: &Spanned<Cow<'t, str>>, known: &[&str]) {
        let name = key.get_ref();
        let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let message = format!(
            "unknown field `{name}`, expected one of {}",
            list.join(", ")
        );
        let (message, is_strange) = explained(&message);
        // What an argument sets below a table with a slip in its name is not known.
        if is_strange || matches!(self.place(key.span()), Place::Override(_)) {
            self.hide_value(&key.span());
        }
        self.invalid(name, message);
    }

    /// Reads `value`, which stands at `path`, as a `T`.
    ///
    /// Collects every problem, not only the first: the entry that an error
    /// points at is taken out and the rest is read again. What can be read
    /// without those is returned, so that its own checks are made too; a
    /// pipeline does not come of it.
    pub(crate) fn read<T: DeserializeOwned>(
        &mut self,
        path: &str,
        value: Spanned<DeValue<'t>>,
    ) -> Option<T> {
        let mut value = value;
        for _ in 0..MOST_UNREADABLE {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            // Before anything of it is changed, or the secret is not found.
            let message = self.mask.message(error.message());
            let (message, unknown) = explained(&message);
            let span = error.span().unwrap_or_else(|| value.span());
            let removed = match value.get_mut() {
                DeValue::Table(table) => remove(table, &span),
                _ => None,
            };
            match removed {
                Some(key) => {
                    let path = join(path, &key);
                    let is_set = matches!(self.place(span.clone()), Place::Override(_));
                    if unknown || (is_set && message.starts_with("unknown field")) {
                        self.hide_value(&span);
                    }
                    let place = self.place(span);
                    self.problem(&path, message, place);
                    self.unreadable.insert(path);
                }
                None => {
                    self.invalid(path, message);
                    return None;
                }
            }
        }
        // There are problems enough to begin with.
        None
    }

    /// Returns what is wrong, if anything is.
    pub(crate) fn into_problems(mut self) -> Result<(), Problems> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| match &problem.place {
            Place::Text(span) => span.start,
            Place::Override(_) | Place::Nowhere => usize::MAX,
        });
        let more = self.problems.len().saturating_sub(MOST_SHOWN);
        if more > 0 {
            self.problems.truncate(MOST_SHOWN);
            self.problem("", format!("and {more} more"), Place::Nowhere);
        }
        for problem in &mut self.problems {
            problem.message = self.mask.message(&problem.message);
            problem.path = self.mask.message(&problem.path);
            if let Place::Override(argument) = &mut problem.place {
                *argument = self.mask.message(argument);
            }
        }
        self.problems.dedup();
        Err(Problems {
            origin: self.origin,
            text: self.mask.file(self.text),
            list: self.problems,
        })
    }

    /// Adds a problem, unless it is in a line of which it is already said that
    /// it cannot be read: what was made of that line is a guess.
    fn problem(&mut self, path: &str, message: impl Into<String>, place: Place) {
        if let Place::Text(span) = &place
            && self.mask.is_illegible(self.text, span.start)
        {
            return;
        }
        if self.follows_from_unparsed(&place) {
            return;
        }
        self.problems.push(Problem {
            path: path.to_owned(),
            message: message.into(),
            place,
        });
    }

    /// Whether a problem is there only because a line could not be read: a table
    /// that is missing, or a key below the head of a table.
    fn follows_from_unparsed(&self, place: &Place) -> bool {
        match place {
            Place::Override(_) => false,
            Place::Nowhere => !self.unparsed.is_empty(),
            Place::Text(span) => {
                let before = self.unparsed.range(..=span.start);
                before
                    .rev()
                    .any(|line| self.text[*line..].trim_start().starts_with('['))
            }
        }
    }

    /// Hides what stands behind a key that nobody knows.
    fn hide_value(&mut self, key: &Range<usize>) {
        let set = key.start.checked_sub(self.text.len() + 1);
        match set.and_then(|n| self.overrides.get_mut(n)) {
            Some(argument) => *argument = mask::without_value(argument),
            None => self.mask.hide_value(key.end),
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        match span.start.checked_sub(self.text.len() + 1) {
            Some(n) => self
                .overrides
                .get(n)
                .map_or(Place::Nowhere, |text| Place::Override(text.clone())),
            None => Place::Text(span),
        }
    }

    /// Adds what is wrong with `[[project]]`.
    fn wrong_project(&mut self, wrong: WrongProject) {
        let WrongProject {
            path,
            message,
            span,
        } = wrong;
        let (message, _) = explained(&self.mask.message(&message));
        let place = span.map_or(Place::Nowhere, |span| self.place(span));
        self.problem(&path, message, place);
    }

    fn apply(&mut self, root: &mut DeTable<'t>, change: &'t Override) {
        let offset = self.text.len() + 1 + self.overrides.len();
        let argument = mask::argument(&change.key, &change.argument);
        self.overrides.push(argument.clone());
        let span = offset..offset;
        match set(root, &change.key, &change.value, &span) {
            Err(message) => self.problem(&change.key, message, Place::Override(argument)),
            // It does not stand in the file either.
            Ok(true) if matches!(change.value, OverrideValue::IfMissing(_)) => {
                let keys = change.value.keys().into_iter();
                let paths = keys.map(|key| join(&change.key, &key));
                self.expanded.extend(paths);
            }
            Ok(_) => {}
        }
    }

    fn expand_table(&mut self, table: &mut DeTable<'t>, path: &str, env: &Env) {
        let keys: Vec<_> = table.keys().cloned().collect();
        for key in keys {
            let path = join(path, key.get_ref());
            if let Some(value) = table.get_mut(&key) {
                self.expand(value, &path, env);
            }
        }
    }

    fn expand(&mut self, value: &mut Spanned<DeValue<'t>>, path: &str, env: &Env) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => match substitute(text, env, path) {
                Ok(None) => {}
                Ok(Some(replaced)) => {
                    if mask::is_secret_key(path) || is_telling_url(&replaced) {
                        let names = variables(text).map(str::to_owned);
                        self.secret_variables.extend(names);
                    }
                    *text = replaced.into();
                    self.expanded.insert(path.to_owned());
                }
                Err(message) => {
                    let place = self.place(span);
                    self.problem(path, message, place);
                }
            },
            // `from = 2024-01-01` without quotes is what people write too.
            DeValue::Datetime(datetime) => {
                let text = datetime.to_string();
                *value.get_mut() = DeValue::String(text.into());
            }
            DeValue::Array(array) => {
                for (n, item) in array.iter_mut().enumerate() {
                    self.expand(item, &join(path, &n.to_string()), env);
                }
            }
            DeValue::Table(table) => self.expand_table(table, path, env),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {}
        }
    }
}

/// Returns where an entry is pointed at, and its value.
fn place_of_entry<'d, 't>(
    (key, value): (&'d Spanned<Cow<'t, str>>, &'d Spanned<DeValue<'t>>),
) -> (Range<usize>, &'d DeValue<'t>) {
    let span = match value.get_ref() {
        // A table's own span can be the whole file; its header says it.
        DeValue::Table(_) => key.span(),
        _ => value.span(),
    };
    (span, value.get_ref())
}

/// Removes the innermost entry that `span` points at and returns its path.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let within = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let mut found = None;
    for (key, value) in table.iter_mut() {
        if within(&key.span()) {
            found = Some(key.clone());
            break;
        }
        if let DeValue::Table(inner) = value.get_mut()
            && let Some(path) = remove(inner, span)
        {
            return Some(join(key.get_ref(), &path));
        }
        if within(&value.span()) {
            found = Some(key.clone());
            // A later key may be a closer match: a table that is written in
            // several places has a span that covers what stands between.
        }
    }
    let key = found?;
    table.remove(&key);
    Some(key.into_inner().into_owned())
}

/// Returns where the line begins that `at` is in.
fn line_start(text: &str, at: usize) -> usize {
    // An error may stand within a character.
    let before = &text.as_bytes()[..at.min(text.len())];
    let end = before.iter().rposition(|byte| *byte == b'\n');
    end.map_or(0, |end| end + 1)
}
