//! Collects the settings from flags, the environment and a file, as text.
//!
//! The flags of `serve` are the only list of settings: they give the names of the variables and of
//! the keys in the file, the defaults, and which settings may be repeated.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args as _, Command};
use toml::de::{DeTable, DeValue};

use crate::cli::ServeArgs;
use crate::limits;

const PREFIX: &str = "PRISM_HUB_";

/// Variables of other modes, which `serve` ignores.
const OTHER_VARIABLES: &[&str] = &["PRISM_HUB_LOG", "PRISM_HUB_LOG_LEVEL", "PRISM_HUB_TOKEN"];

/// The text of each setting, by the name of its flag.
#[derive(Debug)]
pub(super) struct RawSettings {
    values: BTreeMap<String, Vec<SettingValue>>,
    specs: Vec<SettingSpec>,
}

#[derive(Clone, Debug)]
/// A setting that exists.
struct SettingSpec {
    /// The id of its argument in clap.
    id: String,
    /// The name of its flag, without dashes.
    name: String,
    is_repeated: bool,
}

/// Where the value of a setting comes from, in the order of precedence, low to high.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingLocation {
    /// The default.
    Default,
    /// A line of a file.
    File {
        /// The path of the file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// This environment variable.
    Environment(String),
    /// This flag, without its dashes.
    Flag(String),
}

#[derive(Clone)]
struct SettingValue {
    text: String,
    location: SettingLocation,
}

/// An error in the configuration, with its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    location: SettingLocation,
    /// The setting, if the location does not name it.
    key: Option<String>,
    what: String,
}

impl RawSettings {
    /// Parses the flags of `serve`.
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

    /// Collects flags, the environment, and the file that either of them names.
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
        let specs = specs();
        let mut settings = Self { values: BTreeMap::new(), specs: specs.clone() };
        for SettingSpec { id, name, .. } in specs {
            let location = match matches.value_source(&id) {
                Some(ValueSource::CommandLine) => SettingLocation::Flag(name.clone()),
                Some(_) => SettingLocation::Default,
                None => continue,
            };
            let texts = matches.get_many::<String>(&id).into_iter().flatten().cloned();
            settings.add(&name, texts.collect(), location)?;
        }
        Ok(settings)
    }

    /// Reads the variables that begin with the prefix. An empty variable is ignored.
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
            let location = SettingLocation::Environment(variable.to_owned());
            let name = name.to_ascii_lowercase().replace('_', "-");
            let Some(spec) = self.specs.iter().find(|it| it.name == name).cloned() else {
                return Err(self.unknown(&name, location, |name| {
                    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
                }));
            };
            let Some(text) = text.to_str() else {
                return Err(ConfigError::at(location, None, "the value is not UTF-8"));
            };
            let texts = if spec.is_repeated {
                text.split(',').map(|part| part.trim().to_owned()).collect()
            } else {
                vec![text.to_owned()]
            };
            self.add(&name, texts, location)?;
        }
        Ok(())
    }

    /// Reads a TOML file of `name = value`, in which a repeated setting is an array.
    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = read_bounded(path)?;
        let location = |span: &std::ops::Range<usize>| SettingLocation::File {
            path: path.to_owned(),
            line: line_at(&text, span.start),
        };
        let table = DeTable::parse(&text).map_err(|error| {
            let what = error.message().replace('\n', ", ");
            ConfigError::at(location(&error.span().unwrap_or_default()), None, what)
        })?;
        for (key, value) in table.get_ref() {
            let name: &str = key.get_ref();
            let location = location(&key.span());
            let Some(spec) = self.specs.iter().find(|it| it.name == name).cloned() else {
                return Err(self.unknown(name, location, str::to_owned));
            };
            if name == "config" {
                let what = "a file cannot name another one";
                return Err(ConfigError::at(location, Some(name), what));
            }
            let texts = texts(value.get_ref(), spec.is_repeated)
                .map_err(|what| ConfigError::at(location.clone(), Some(name), what))?;
            self.add(name, texts, location)?;
        }
        Ok(())
    }

    /// The text and the location of a setting that is not repeated.
    pub(super) fn one(&self, name: &str) -> Result<Option<(String, SettingLocation)>, ConfigError> {
        let Some(value) = self.values.get(name).and_then(|values| values.first()) else {
            return Ok(None);
        };
        Ok(Some((value.text.clone(), value.location.clone())))
    }

    /// Parses a setting that has a default.
    pub(super) fn get<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        self.maybe(name, parse)?.ok_or_else(|| ConfigError::whole(format!("`{name}` is missing")))
    }

    /// Parses a setting, if it has a value.
    pub(super) fn maybe<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.values.get(name).and_then(|values| values.first()) else {
            return Ok(None);
        };
        let refused = |what| ConfigError::at(value.location.clone(), Some(name), what);
        parse(&value.text).map(Some).map_err(refused)
    }

    /// Parses each value of a setting that may be repeated.
    pub(super) fn all<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let values = self.values.get(name).map(Vec::as_slice).unwrap_or_default();
        let parse = |value: &SettingValue| {
            parse(&value.text)
                .map_err(|what| ConfigError::at(value.location.clone(), Some(name), what))
        };
        values.iter().map(parse).collect()
    }

    /// Whether a setting has a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Where the value of a setting comes from.
    pub(super) fn location(&self, name: &str) -> SettingLocation {
        let values = self.values.get(name).and_then(|values| values.first());
        values.map_or(SettingLocation::Default, |value| value.location.clone())
    }

    /// Sets the values of a setting, unless a location of higher precedence has set it.
    fn add(
        &mut self,
        name: &str,
        texts: Vec<String>,
        location: SettingLocation,
    ) -> Result<(), ConfigError> {
        if texts.len() > limits::REPEATED_MAX {
            let what =
                format!("{} values were given; at most {}", texts.len(), limits::REPEATED_MAX);
            return Err(ConfigError::at(location, Some(name), what));
        }
        if self.location(name).rank() <= location.rank() {
            let values =
                texts.into_iter().map(|text| SettingValue { text, location: location.clone() });
            self.values.insert(name.to_owned(), values.collect());
        }
        Ok(())
    }

    fn unknown(
        &self,
        name: &str,
        location: SettingLocation,
        spell: impl Fn(&str) -> String,
    ) -> ConfigError {
        let near = self.specs.iter().map(|it| (strsim::jaro(&it.name, name), &it.name));
        let best = near.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = best.map(|(_, name)| format!("; did you mean `{}`?", spell(name)));
        let what = format!("there is no setting `{}`{}", spell(name), hint.unwrap_or_default());
        ConfigError::at(location, None, what)
    }
}

impl SettingLocation {
    /// Whether the value comes from the command line.
    pub fn is_flag(&self) -> bool {
        matches!(self, Self::Flag(_))
    }

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
    /// An error that belongs to no single setting.
    pub(super) fn whole(what: impl Into<String>) -> Self {
        Self { location: SettingLocation::Default, key: None, what: what.into() }
    }

    /// An error in the value of a setting.
    pub(super) fn at(
        location: SettingLocation,
        key: Option<&str>,
        what: impl Into<String>,
    ) -> Self {
        Self { location, key: key.map(str::to_owned), what: what.into() }
    }

    /// Adds the path of the file to an error that has no other location.
    pub(super) fn within(mut self, path: &Path) -> Self {
        if self.location == SettingLocation::Default {
            self.what = format!("{}: {}", path.display(), self.what);
        }
        self
    }

    /// The location of the wrong value.
    pub fn location(&self) -> &SettingLocation {
        &self.location
    }

    /// The error without its location.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.location, &self.key) {
            (SettingLocation::Default, None) => {}
            (SettingLocation::Default, Some(key)) => write!(f, "{key}: ")?,
            (SettingLocation::File { path, line }, None) => {
                write!(f, "{}:{line}: ", path.display())?
            }
            (SettingLocation::File { path, line }, Some(key)) => {
                write!(f, "{}:{line}: {key}: ", path.display())?;
            }
            (SettingLocation::Environment(variable), _) => write!(f, "{variable}: ")?,
            (SettingLocation::Flag(flag), _) => write!(f, "--{flag}: ")?,
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for ConfigError {}

/// Leaves out the text, which may be a key.
impl fmt::Debug for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingValue").field("location", &self.location).finish_non_exhaustive()
    }
}

fn command() -> Command {
    ServeArgs::augment_args(Command::new("serve")).disable_help_flag(true)
}

fn specs() -> Vec<SettingSpec> {
    let command = command();
    let settings = command.get_arguments().filter_map(|argument| {
        Some(SettingSpec {
            id: argument.get_id().as_str().to_owned(),
            name: argument.get_long()?.to_owned(),
            is_repeated: matches!(argument.get_action(), ArgAction::Append),
        })
    });
    settings.collect()
}

/// Whether a variable is one of those that Kubernetes sets in every container for a service named
/// `prism-hub`. It is then not a misspelled setting.
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

/// Converts a value in the file to the texts that flags would have.
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

/// The variables of this process that begin with the prefix.
pub(crate) fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let is_ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(PREFIX));
    std::env::vars_os().filter(move |(name, _)| is_ours(name))
}
