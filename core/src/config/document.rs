//! The text of a pipeline file, parsed, with the place of every value.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::env::Env;
use super::mask::{self, Mask};
use super::problem::{Place, Problem, Problems};
use super::sensitive::{is_harmless, is_secret, is_telling_url};
use crate::suggest::{did_you_mean, nearest};

/// A pipeline file: parsed, with variables and overrides put in.
#[derive(Debug)]
pub struct Document<'t> {
    origin: String,
    text: &'t str,
    root: DeTable<'t>,
    /// The overrides, as written. Number n has the span `text.len() + 1 + n`,
    /// which no value of the text can have.
    overrides: Vec<String>,
    expanded: BTreeSet<String>,
    /// The variables that secrets come from.
    secret_variables: BTreeSet<String>,
    /// The keys whose values are of the wrong type, or unknown.
    unreadable: BTreeSet<String>,
    problems: Vec<Problem>,
    mask: Mask,
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
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut root = root.into_inner();
        let mut document = Document {
            origin: origin.to_owned(),
            text,
            root: DeTable::new(),
            overrides: Vec::new(),
            expanded: BTreeSet::new(),
            secret_variables: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            problems: Vec::new(),
            mask: Mask::new(text, !errors.is_empty()),
        };
        for error in errors {
            document.problems.push(Problem {
                path: String::new(),
                message: error.message().to_owned(),
                place: error.span().map_or(Place::Nowhere, Place::Text),
            });
        }
        for change in overrides {
            document.apply(&mut root, change);
        }
        // Before and after, for what a variable's value is too.
        document.mask.collect(&root);
        document.expand_table(&mut root, "", env);
        document.mask.collect(&root);
        named_variables(&root, &mut document.secret_variables);
        document.root = root;
        document
    }

    /// Returns the table that a pipeline is.
    pub(crate) fn root(&self) -> &DeTable<'t> {
        &self.root
    }

    /// Returns the keys whose value came from a variable, with their tables.
    pub(crate) fn expanded(&self) -> &BTreeSet<String> {
        &self.expanded
    }

    /// Returns the variables that secrets come from.
    pub(crate) fn secret_variables(&self) -> &BTreeSet<String> {
        &self.secret_variables
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
        self.problems.push(Problem {
            path: path.to_owned(),
            message: message.into(),
            place,
        });
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

    fn apply(&mut self, root: &mut DeTable<'t>, change: &'t Override) {
        let offset = self.text.len() + 1 + self.overrides.len();
        let argument = mask::argument(&change.key, &change.argument);
        self.overrides.push(argument.clone());
        let span = offset..offset;
        if let Err(message) = set(root, &change.key, &change.value, &span) {
            self.problem(&change.key, message, Place::Override(argument));
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

/// A value that replaces one of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The key with its tables: `sink.mode`, `transform.0.keep`.
    pub key: String,
    /// The value.
    pub value: OverrideValue,
    /// The argument as it was written, for problems.
    pub argument: String,
}

impl Override {
    /// Creates an override of whatever the file says.
    pub fn set(key: impl Into<String>, value: OverrideValue, argument: String) -> Override {
        Override {
            key: key.into(),
            value,
            argument,
        }
    }

    /// Reads what `flag` was given, such as `sink.mode=replace`.
    ///
    /// An error shows nothing of what may be a secret.
    pub fn from_argument(flag: &str, text: &str) -> Result<Override, String> {
        let right = format!("write it as `{flag} sink.mode=replace`");
        let Some((key, value)) = text.split_once('=') else {
            let shown = mask::key_alone(text);
            return Err(format!("`{flag} {shown}` has no `=`: {right}"));
        };
        let (key, value) = (key.trim(), value.trim());
        let is_secret = mask::is_secret_key(key);
        let may_be = |c: char| mask::is_plain(c.encode_utf8(&mut [0; 4])) || "$ -.".contains(c);
        if !key.chars().all(may_be) || (is_secret && key.contains(['$', ' ', '-'])) {
            return Err(format!("the key of `{flag} …=…` is none: {right}"));
        }
        if is_secret && value.is_empty() {
            return Err(format!(
                "`{flag} {key}=` has no value: {right}, without spaces"
            ));
        }
        let value = OverrideValue::Guess(value.to_owned());
        Ok(Override::set(key, value, format!("{flag} {text}")))
    }

    /// Creates a value for a key that the file does not have.
    pub fn if_missing(key: impl Into<String>, value: OverrideValue, argument: String) -> Override {
        Override::set(key, OverrideValue::IfMissing(Box::new(value)), argument)
    }
}

/// What an override sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideValue {
    /// A TOML value if it is one, otherwise a text: what `--set` takes.
    Guess(String),
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// A table.
    Table(Vec<(String, OverrideValue)>),
    /// A value for a key that the file does not have.
    IfMissing(Box<OverrideValue>),
}

impl OverrideValue {
    fn parse(&self, span: &Range<usize>) -> Spanned<DeValue<'_>> {
        let text = |text| DeValue::String(Cow::Borrowed(text));
        let value = match self {
            OverrideValue::Guess(guess) => match DeValue::parse(guess) {
                Ok(value) => relocate(value.into_inner(), span),
                Err(_) => text(guess),
            },
            OverrideValue::Text(exact) => text(exact),
            OverrideValue::List(items) => DeValue::Array(
                items
                    .iter()
                    .map(|item| Spanned::new(span.clone(), text(item)))
                    .collect(),
            ),
            OverrideValue::Table(members) => DeValue::Table(
                members
                    .iter()
                    .map(|(key, value)| {
                        let key = Spanned::new(span.clone(), Cow::Borrowed(key.as_str()));
                        (key, value.parse(span))
                    })
                    .collect(),
            ),
            OverrideValue::IfMissing(value) => return value.parse(span),
        };
        Spanned::new(span.clone(), value)
    }
}

/// Puts the values inside an override at the override's place.
fn relocate<'t>(value: DeValue<'t>, span: &Range<usize>) -> DeValue<'t> {
    let at = |value: Spanned<DeValue<'t>>| {
        Spanned::new(span.clone(), relocate(value.into_inner(), span))
    };
    match value {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(at).collect()),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| (Spanned::new(span.clone(), key.into_inner()), at(value)))
                .collect(),
        ),
        plain => plain,
    }
}

fn set<'t>(
    root: &mut DeTable<'t>,
    key: &'t str,
    value: &'t OverrideValue,
    span: &Range<usize>,
) -> Result<(), String> {
    let mut segments: Vec<&str> = key.split('.').collect();
    let last = segments.pop().unwrap_or_default();
    if last.is_empty() || segments.iter().any(|segment| segment.is_empty()) {
        return Err("a key looks like `sink.mode`".to_owned());
    }
    let mut table = root;
    let mut segments = segments.into_iter();
    while let Some(segment) = segments.next() {
        let name = Spanned::new(span.clone(), Cow::Borrowed(segment));
        let entry = table
            .entry(name)
            .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
        table = match entry.get_mut() {
            DeValue::Table(inner) => inner,
            DeValue::Array(items) => {
                let n = segments.next().unwrap_or_default();
                let item = n.parse::<usize>().ok().and_then(|n| items.get_mut(n));
                match item.map(Spanned::get_mut) {
                    Some(DeValue::Table(inner)) => inner,
                    _ => return Err(format!("`{segment}` has no table number `{n}`")),
                }
            }
            _ => return Err(format!("`{segment}` is not a table")),
        };
    }
    if matches!(value, OverrideValue::IfMissing(_)) && table.contains_key(last) {
        return Ok(());
    }
    // Removed first: an insert would keep the old key and with it its place.
    table.remove(last);
    table.insert(
        Spanned::new(span.clone(), Cow::Borrowed(last)),
        value.parse(span),
    );
    Ok(())
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

/// Words of serde and of Rust, and what TOML's users call these things.
const PLAIN_WORDS: [(&str, &str); 11] = [
    ("expected a nonzero u32", "expected a whole number from 1"),
    ("expected a nonzero usize", "expected a whole number from 1"),
    ("expected usize", "expected a whole number from 0"),
    ("expected u64", "expected a whole number from 0"),
    ("expected u32", "expected a whole number from 0"),
    ("expected i64", "expected a whole number"),
    ("expected a boolean", "expected `true` or `false`"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected a table"),
    ("floating point", "number"),
    (": sequence", ": list"),
];

/// Adds "did you mean" to serde's message about an unknown name, and says
/// the rest in plain words.
pub fn explain(message: &str) -> String {
    explained(message).0
}

/// As [`explain`]; also whether nobody knows what the name stands for, or it
/// may be that of a secret.
fn explained(message: &str) -> (String, bool) {
    let mut message = message.to_owned();
    for (theirs, plain) in PLAIN_WORDS {
        message = message.replace(theirs, plain);
    }
    let message = message.as_str();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match quoted.next() {
        Some(name) if unknown => {
            let known: Vec<&str> = quoted.collect();
            let meant = nearest(name, &known).unwrap_or(name);
            let is_strange = is_secret(meant)
                || meant.contains("url")
                || !(known.contains(&meant) || is_harmless(meant));
            (
                format!("{message}{}", did_you_mean(name, &known)),
                is_strange,
            )
        }
        _ => (message.to_owned(), false),
    }
}

/// Collects the variables that secrets name as `{ env = "NAME" }`, at any depth.
fn named_variables(table: &DeTable<'_>, names: &mut BTreeSet<String>) {
    for (_, value) in table.iter() {
        let tables = match value.get_ref() {
            DeValue::Array(items) => items.as_ref(),
            _ => std::slice::from_ref(value),
        };
        for inner in tables.iter().filter_map(|item| item.get_ref().as_table()) {
            if let Some(name) = inner.get("env").and_then(|name| name.get_ref().as_str())
                && inner.iter().count() == 1
            {
                names.insert(name.to_owned());
            }
            named_variables(inner, names);
        }
    }
}

/// Returns the names in `${NAME}` and `${NAME:-default}`.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| {
        let inner = rest.split_once('}')?.0;
        Some(inner.split_once(":-").map_or(inner, |(name, _)| name))
    })
}

/// Replaces `${NAME}` and `${NAME:-default}`; `None` if there is none.
fn substitute(text: &str, env: &Env, path: &str) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, behind) = after
            .split_once('}')
            .ok_or_else(|| "`${` has no `}`".to_owned())?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let value = env
            .get(name)
            .filter(|value| default.is_none() || !value.is_empty())
            .or_else(|| default.map(str::to_owned))
            .ok_or_else(|| {
                if mask::is_variable(name, path) {
                    format!("the environment variable `{name}` is not set")
                } else {
                    "`${…}` has no name of a variable that is set".to_owned()
                }
            })?;
        out.push_str(before);
        out.push_str(&value);
        rest = behind;
    }
    out.push_str(rest);
    Ok(Some(out))
}

pub(crate) fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}
