//! What flags, the environment and a file say, as text by the names of the flags.
//!
//! The flags of `serve` are the only list of settings there is: they name the keys of the file and
//! the variables, know which may be repeated, and carry the defaults.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args as _, Command};
use toml::de::{DeTable, DeValue};

use super::parse::Refusal;
use crate::cli::ServeArgs;
use crate::limits;

const PREFIX: &str = "PRISM_HUB_";

/// Variables of other modes, which `serve` leaves alone.
const OTHER_VARIABLES: &[&str] = &["PRISM_HUB_LOG", "PRISM_HUB_LOG_LEVEL", "PRISM_HUB_TOKEN"];

/// Values by the names of their settings.
#[derive(Debug)]
pub(super) struct Settings {
    values: BTreeMap<String, Vec<Value>>,
    known: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    /// By which clap knows it.
    id: String,
    name: String,
    is_repeated: bool,
}

/// Where a value was said. The order is that of precedence, low to high.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// In this variable.
    Environment(String),
    /// In this flag, without its dashes.
    Flag(String),
}

#[derive(Clone)]
struct Value {
    text: String,
    place: Place,
}

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    place: Place,
    /// The setting, where the place does not name it.
    key: Option<String>,
    what: String,
}

impl Settings {
    /// The flags that a command line of `serve` has.
    pub(super) fn from_args<I>(args: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let args = args.into_iter().map(Into::into);
        let args = std::iter::once(OsString::from("serve")).chain(args);
        let matches = command().try_get_matches_from(args).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            ConfigError::whole(first.trim_start_matches("error: "))
        })?;
        Self::from_matches(&matches)
    }

    /// Flags, environment, and the file that either of them names.
    pub(super) fn gather(
        matches: &ArgMatches,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Self::from_matches(matches)?;
        settings.read_environment(environment)?;
        if let Some((path, _)) = settings.one("config")? {
            settings.read_file(Path::new(&path))?;
        }
        Ok(settings)
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, ConfigError> {
        let known = known();
        let mut settings = Self { values: BTreeMap::new(), known: known.clone() };
        for Known { id, name, .. } in known {
            let place = match matches.value_source(&id) {
                Some(ValueSource::CommandLine) => Place::Flag(name.clone()),
                Some(_) => Place::Default,
                None => continue,
            };
            let texts = matches.get_many::<String>(&id).into_iter().flatten().cloned();
            settings.add(&name, texts.collect(), place)?;
        }
        Ok(settings)
    }

    /// Reads the variables of this hub. An empty one says nothing.
    fn read_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (variable, text) in environment {
            let Some(variable) = variable.to_str() else { continue };
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            if text.is_empty() || OTHER_VARIABLES.contains(&variable) || is_service_link(name) {
                continue;
            }
            let place = Place::Environment(variable.to_owned());
            let name = name.to_ascii_lowercase().replace('_', "-");
            let Some(known) = self.known.iter().find(|it| it.name == name).cloned() else {
                return Err(self.unknown(&name, place, |name| {
                    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
                }));
            };
            let Some(text) = text.to_str() else {
                return Err(ConfigError::at(place, None, "the value is not UTF-8"));
            };
            let texts = if known.is_repeated {
                text.split(',').map(|part| part.trim().to_owned()).collect()
            } else {
                vec![text.to_owned()]
            };
            self.add(&name, texts, place)?;
        }
        Ok(())
    }

    /// Reads a file of `name = value`, where a repeated setting is an array.
    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = read_bounded(path)?;
        let place = |span: &std::ops::Range<usize>| Place::File {
            path: path.to_owned(),
            line: line_at(&text, span.start),
        };
        let table = DeTable::parse(&text).map_err(|error| {
            let what = error.message().replace('\n', ", ");
            ConfigError::at(place(&error.span().unwrap_or_default()), None, what)
        })?;
        for (key, value) in table.get_ref() {
            let name: &str = key.get_ref();
            let place = place(&key.span());
            let Some(known) = self.known.iter().find(|it| it.name == name).cloned() else {
                return Err(self.unknown(name, place, str::to_owned));
            };
            if name == "config" {
                let what = "a file cannot name another one";
                return Err(ConfigError::at(place, Some(name), what));
            }
            let texts = texts(value.get_ref(), known.is_repeated)
                .map_err(|what| ConfigError::at(place.clone(), Some(name), what))?;
            self.add(name, texts, place)?;
        }
        Ok(())
    }

    /// Takes what a setting says as one value.
    pub(super) fn one(&self, name: &str) -> Result<Option<(String, Place)>, ConfigError> {
        let Some(value) = self.values.get(name).and_then(|values| values.first()) else {
            return Ok(None);
        };
        Ok(Some((value.text.clone(), value.place.clone())))
    }

    /// What `parse` makes of a setting that has a default.
    pub(super) fn get<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Result<T, ConfigError> {
        self.maybe(name, parse)?.ok_or_else(|| ConfigError::whole(format!("`{name}` is missing")))
    }

    /// What `parse` makes of a setting, if it was said.
    pub(super) fn maybe<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.values.get(name).and_then(|values| values.first()) else {
            return Ok(None);
        };
        let refused = |what| ConfigError::at(value.place.clone(), Some(name), what);
        parse(&value.text).map(Some).map_err(refused)
    }

    /// What `parse` makes of each value of a setting that may be repeated.
    pub(super) fn all<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, ConfigError> {
        let values = self.values.get(name).map(Vec::as_slice).unwrap_or_default();
        let parse = |value: &Value| {
            parse(&value.text)
                .map_err(|what| ConfigError::at(value.place.clone(), Some(name), what))
        };
        values.iter().map(parse).collect()
    }

    /// Where a setting was said.
    pub(super) fn place(&self, name: &str) -> Place {
        let values = self.values.get(name).and_then(|values| values.first());
        values.map_or(Place::Default, |value| value.place.clone())
    }

    /// Keeps what a place says, unless a stronger place said something.
    fn add(&mut self, name: &str, texts: Vec<String>, place: Place) -> Result<(), ConfigError> {
        if texts.len() > limits::REPEATED_MAX {
            let what =
                format!("{} values were given; at most {}", texts.len(), limits::REPEATED_MAX);
            return Err(ConfigError::at(place, Some(name), what));
        }
        if self.place(name).rank() <= place.rank() {
            let values = texts.into_iter().map(|text| Value { text, place: place.clone() });
            self.values.insert(name.to_owned(), values.collect());
        }
        Ok(())
    }

    fn unknown(&self, name: &str, place: Place, spell: impl Fn(&str) -> String) -> ConfigError {
        let near = self.known.iter().map(|it| (strsim::jaro(&it.name, name), &it.name));
        let best = near.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = best.map(|(_, name)| format!("; did you mean `{}`?", spell(name)));
        let what = format!("there is no setting `{}`{}", spell(name), hint.unwrap_or_default());
        ConfigError::at(place, None, what)
    }
}

impl Place {
    fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl ConfigError {
    /// Something is wrong with the whole.
    pub(super) fn whole(what: impl Into<String>) -> Self {
        Self { place: Place::Default, key: None, what: what.into() }
    }

    /// Something is wrong at a place.
    pub(super) fn at(place: Place, key: Option<&str>, what: impl Into<String>) -> Self {
        Self { place, key: key.map(str::to_owned), what: what.into() }
    }

    /// Names the file where nothing else says where it is wrong.
    pub(super) fn within(mut self, path: &Path) -> Self {
        if self.place == Place::Default {
            self.what = format!("{}: {}", path.display(), self.what);
        }
        self
    }

    /// Where it is wrong.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong, without the place.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, &self.key) {
            (Place::Default, None) => {}
            (Place::Default, Some(key)) => write!(f, "{key}: ")?,
            (Place::File { path, line }, None) => write!(f, "{}:{line}: ", path.display())?,
            (Place::File { path, line }, Some(key)) => {
                write!(f, "{}:{line}: {key}: ", path.display())?;
            }
            (Place::Environment(variable), _) => write!(f, "{variable}: ")?,
            (Place::Flag(flag), _) => write!(f, "--{flag}: ")?,
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for ConfigError {}

/// A value may be a key.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("place", &self.place).finish_non_exhaustive()
    }
}

fn command() -> Command {
    ServeArgs::augment_args(Command::new("serve")).disable_help_flag(true)
}

fn known() -> Vec<Known> {
    let command = command();
    let settings = command.get_arguments().filter_map(|argument| {
        Some(Known {
            id: argument.get_id().as_str().to_owned(),
            name: argument.get_long()?.to_owned(),
            is_repeated: matches!(argument.get_action(), ArgAction::Append),
        })
    });
    settings.collect()
}

/// Whether a variable is one that Kubernetes sets in every container for a service that is named
/// `prism-hub`, and so nobody's slip of the finger.
fn is_service_link(name: &str) -> bool {
    name == "PORT" || name.starts_with("PORT_") || name.starts_with("SERVICE_")
}

fn read_bounded(path: &Path) -> Result<String, ConfigError> {
    let refuse = |what: String| ConfigError::whole(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
    let mut text = String::new();
    let max = limits::CONFIG_BYTES_MAX;
    file.take(max + 1).read_to_string(&mut text).map_err(|error| refuse(error.to_string()))?;
    if text.len() as u64 > max {
        return Err(refuse(format!("the file has more than {max} bytes")));
    }
    Ok(text)
}

fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// A value of a file as the texts that flags would have.
fn texts(value: &DeValue<'_>, is_repeated: bool) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(values) if is_repeated => {
            values.iter().map(|value| text(value.get_ref())).collect()
        }
        DeValue::Array(_) => Err("one value is expected, not an array".to_owned()),
        value => text(value).map(|text| vec![text]),
    }
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(true) => Ok("on".to_owned()),
        DeValue::Boolean(false) => Ok("off".to_owned()),
        _ => Err("a value is text in quotes, a whole number, true or false".to_owned()),
    }
}

/// The environment of this process.
pub(crate) fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let is_ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(PREFIX));
    std::env::vars_os().filter(move |(name, _)| is_ours(name))
}
