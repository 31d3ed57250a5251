//! `mirage models`: the networks that are known by name, and what is known of a file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::DecimalBytes;
use serde::Serialize;
use thiserror::Error;

use super::{OutputError, print};
use crate::data::pull::{self, Check, Placed, PullError, Wanted};
use crate::data::{self, NoDataDir};
use crate::model::registry::{self, Companion, Network};
use crate::model::{Model, ModelError};

/// Arguments of `mirage models`.
#[derive(Args, Debug)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Subcommand, Debug)]
enum ModelsCommand {
    /// List the networks that are known by name
    List(ListArgs),
    /// Fetch networks and the names of their classes, verify them, and put them in the folder of data
    Pull(PullArgs),
    /// Tell all that is known of a network
    Info(InfoArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct PullArgs {
    /// Networks, as `mirage models list` names them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Take the files from this folder, or from models and imagenet in it, instead of the network
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Take the one network named from this address
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    url: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct InfoArgs {
    /// A network, as `mirage models list` names it, or the path of one
    #[arg(value_name = "NAME|FILE")]
    model: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Why `mirage models` failed.
#[derive(Debug, Error)]
pub enum ModelsError {
    /// There is no folder for data.
    #[error(transparent)]
    NoDataDir(#[from] NoDataDir),
    /// No network has this name.
    #[error(
        "{0:?} is no network that is known by name; known: {names}",
        names = registry::names().join(", ")
    )]
    Unknown(String),
    /// Neither a network nor a file has this name.
    #[error(
        "model {0:?}: no such file, and no network of that name; known: {names}",
        names = registry::names().join(", ")
    )]
    NoFile(String),
    /// One address cannot be that of several networks.
    #[error("--url: it is the address of one file; name one network, not {0}")]
    OneUrl(usize),
    /// Not an address.
    #[error("--url {0}: give an address that begins with http:// or https://")]
    Url(String),
    /// A file could not be put in its place.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// A model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The result could not be printed.
    #[error(transparent)]
    Output(#[from] OutputError),
}

fn is_built_in(name: &str) -> bool {
    registry::built_in().iter().any(|network| network.name == name)
}

/// Runs `mirage models`.
///
/// # Errors
/// [`ModelsError`]; a closed standard output is none.
pub fn run(args: &ModelsArgs) -> Result<(), ModelsError> {
    match &args.command {
        ModelsCommand::List(args) => list(args),
        ModelsCommand::Pull(args) => pull(args),
        ModelsCommand::Info(args) => info(args),
    }
}

/// Where a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    BuiltIn,
    Here,
    Absent,
    /// A file of another size is in its place.
    Damaged,
}

impl State {
    /// That of a file, as far as its size tells.
    fn of(path: &Path, bytes: u64) -> Self {
        match path.metadata() {
            Ok(file) if file.len() == bytes => Self::Here,
            Ok(_) => Self::Damaged,
            Err(_) => Self::Absent,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::BuiltIn => "built in",
            Self::Here => "here",
            Self::Absent => "not here",
            Self::Damaged => "damaged",
        }
    }
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    title: &'static str,
    bytes: u64,
    state: State,
    path: Option<PathBuf>,
}

fn list(args: &ListArgs) -> Result<(), ModelsError> {
    let mut rows = Vec::new();
    for network in registry::networks() {
        let path = network.path()?;
        let Network { name, title, bytes, .. } = network;
        let state = State::of(&path, *bytes);
        rows.push(Listed { name, title, bytes: *bytes, state, path: Some(path) });
    }
    rows.extend(registry::built_in().iter().map(|network| Listed {
        name: &network.name,
        title: &network.title,
        bytes: network.bytes(),
        state: State::BuiltIn,
        path: None,
    }));
    if args.json {
        return Ok(print(&format!("{}\n", serde_json::json!({ "models": rows })))?);
    }
    let width = |text: fn(&Listed) -> &str| {
        rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0)
    };
    let (names, titles) = (width(|row| row.name), width(|row| row.title));
    let lines = rows.iter().map(|Listed { name, title, bytes, state, .. }| {
        let size = DecimalBytes(*bytes).to_string();
        format!("{name:names$}  {title:titles$}  {size:>9}  {}\n", state.words())
    });
    Ok(print(&lines.collect::<String>())?)
}

/// What has been done for a network.
#[derive(Serialize)]
struct Pulled {
    name: String,
    files: Vec<Placed>,
    /// Companions that could not be had; the network works without them.
    missing: Vec<PathBuf>,
}

fn pull(args: &PullArgs) -> Result<(), ModelsError> {
    if let Some(url) = &args.url {
        if args.names.len() > 1 {
            return Err(ModelsError::OneUrl(args.names.len()));
        }
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(ModelsError::Url(url.clone()));
        }
    }
    // Every name is known before anything is fetched.
    let find = |name: &String| match registry::find(name) {
        None if !is_built_in(name) => Err(ModelsError::Unknown(name.clone())),
        found => Ok((name.clone(), found)),
    };
    let networks = args.names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let pull = |(name, network)| match network {
        Some(network) => pull_one(network, args.from.as_deref(), args.url.as_ref()),
        None => Ok(Pulled { name, files: Vec::new(), missing: Vec::new() }),
    };
    let results = networks.into_iter().map(pull).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        return Ok(print(&format!("{}\n", serde_json::json!({ "models": results })))?);
    }
    let mut text = String::new();
    for Pulled { name, files, missing } in results {
        if files.is_empty() {
            let _ = writeln!(text, "{name}  built in");
        }
        for file in files {
            let _ = writeln!(text, "{}  {}", file.path.display(), file.origin.words());
        }
        for path in missing {
            let _ = writeln!(
                text,
                "{}  not to be had; without it classes have no names; try --from DIR",
                path.display()
            );
        }
    }
    Ok(print(&text)?)
}

/// Puts a network in its place, and then the files that belong to it.
fn pull_one(
    network: &'static Network,
    from: Option<&Path>,
    url: Option<&String>,
) -> Result<Pulled, ModelsError> {
    let to = data::data_dir()?;
    let Network { name, path, bytes, sha256, .. } = network;
    let urls = url.map_or_else(|| network.urls.clone(), |url| vec![url.clone()]);
    let mut files = vec![pull::place(&wanted(name, path, *bytes, sha256, urls), &to, from)?];
    let mut missing = Vec::new();
    for Companion { path, bytes, sha256, urls } in network.companions() {
        match pull::place(&wanted(name, path, *bytes, sha256, urls.clone()), &to, from) {
            Ok(placed) => files.push(placed),
            Err(error @ PullError::Io { .. }) => return Err(error.into()),
            Err(_) => {
                missing.push(to.join(path));
            }
        }
    }
    Ok(Pulled { name: name.clone(), files, missing })
}

/// A file of the registry, to be put in its place for `network`.
fn wanted<'a>(
    network: &str,
    path: &'a str,
    bytes: u64,
    sha256: &'a str,
    urls: Vec<String>,
) -> Wanted<'a> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    let command = format!("mirage models pull {network}");
    Wanted { folder, name, urls, size: bytes, check: Check::Plain { sha256 }, command }
}

/// All that is known of a network; what is `None` or empty does not apply or is unknown.
#[derive(Serialize)]
struct Info {
    name: String,
    title: Option<&'static str>,
    origin: Option<&'static str>,
    state: State,
    path: Option<PathBuf>,
    bytes: u64,
    sha256: String,
    /// `int8` or `onnx`.
    kind: Option<String>,
    /// Height and width of the pictures that are evolved for it.
    picture: [usize; 2],
    /// 1: grey, 3: colour.
    channels: Option<usize>,
    /// Height and width of the network's input.
    input: Option<[usize; 2]>,
    classes: usize,
    /// How pixels become the network's input, in words.
    preprocessing: String,
    /// What the network's output means, in words; found out by running it.
    output: Option<String>,
    /// Whether its classes have names.
    labels: bool,
    urls: &'static [String],
    /// The command that fetches it.
    pull: Option<String>,
}

fn info(args: &InfoArgs) -> Result<(), ModelsError> {
    let name = args.model.as_str();
    let info = if is_built_in(name) {
        of_built_in(name)?
    } else if Path::new(name).is_file() {
        of_file(name)?
    } else if let Some(network) = registry::find(name) {
        of_network(network)?
    } else {
        return Err(ModelsError::NoFile(name.to_owned()));
    };
    if args.json {
        return Ok(print(&format!("{}\n", serde_json::json!(info)))?);
    }
    Ok(print(&info.text())?)
}

/// A model that can be loaded; `path` is that of its file, if it has one.
fn of_model(name: &str, path: Option<PathBuf>, bytes: u64) -> Result<Info, ModelsError> {
    let model = Model::load(name)?;
    let shape = model.shape();
    let record = model.record();
    let network = registry::networks().iter().find(|network| network.sha256 == model.sha256());
    Ok(Info {
        name: name.to_owned(),
        title: network.map(|network| network.title.as_str()),
        origin: network.map(|network| network.origin.as_str()),
        state: if path.is_some() { State::Here } else { State::BuiltIn },
        path,
        bytes,
        sha256: model.sha256().to_owned(),
        kind: Some(record.kind),
        picture: [shape.height, shape.width],
        channels: Some(shape.channels),
        input: Some([model.input().height, model.input().width]),
        classes: model.classes(),
        preprocessing: model.preprocessing(),
        output: Some(model.output().to_string()),
        labels: record.labels.iter().enumerate().any(|(i, label)| *label != i.to_string()),
        urls: network.map_or(&[], |network| &network.urls),
        pull: None,
    })
}

fn of_built_in(name: &str) -> Result<Info, ModelsError> {
    let known = registry::built_in().iter().find(|network| network.name == name);
    let info = of_model(name, None, known.map_or(0, |network| network.bytes()))?;
    Ok(Info { title: known.map(|network| network.title.as_str()), ..info })
}

fn of_file(name: &str) -> Result<Info, ModelsError> {
    let path = PathBuf::from(name);
    let unreadable = |source| ModelError::Read { path: path.clone(), source };
    let bytes = path.metadata().map_err(unreadable)?.len();
    of_model(name, Some(path), bytes)
}

fn of_network(network: &'static Network) -> Result<Info, ModelsError> {
    let path = network.path()?;
    if path.exists() {
        return of_model(&network.name, Some(path), network.bytes);
    }
    let from = if network.urls.is_empty() { " --from DIR" } else { "" };
    let folder = data::data_dir()?;
    Ok(Info {
        name: network.name.clone(),
        title: Some(&network.title),
        origin: Some(&network.origin),
        state: State::Absent,
        path: Some(path),
        bytes: network.bytes,
        sha256: network.sha256.clone(),
        kind: None,
        picture: network.preprocessing.picture.unwrap_or(network.input),
        channels: Some(network.channels),
        input: Some(network.input),
        classes: network.classes,
        preprocessing: network.preprocessing.in_words(network.channels),
        output: None,
        labels: network.companions().any(|file| folder.join(&file.path).is_file()),
        urls: &network.urls,
        pull: Some(format!("mirage models pull {}{from}", network.name)),
    })
}

impl Info {
    /// A line for each thing that is known.
    fn text(&self) -> String {
        let sides = |[height, width]: [usize; 2]| format!("{height} × {width} (height × width)");
        let state = self.path.as_ref().map_or_else(
            || self.state.words().to_owned(),
            |path| format!("{}: {}", self.state.words(), path.display()),
        );
        let colours = self.channels.map_or("", |c| if c == 1 { ", grey" } else { ", colour" });
        let lines = [
            ("title", self.title.map(str::to_owned)),
            ("origin", self.origin.map(str::to_owned)),
            ("file", Some(state)),
            ("pull", self.pull.clone()),
            ("size", Some(format!("{} bytes", self.bytes))),
            ("SHA-256", Some(self.sha256.clone())),
            ("kind", self.kind.clone()),
            ("picture", Some(sides(self.picture) + colours)),
            ("input", self.input.map(sides)),
            ("prepared", Some(self.preprocessing.clone())),
            ("output", self.output.clone()),
            ("classes", Some(self.classes.to_string())),
            (
                "labels",
                Some(if self.labels { "yes" } else { "no: classes are numbers" }.to_owned()),
            ),
        ];
        let mut text = format!("{}\n", self.name);
        for (name, value) in lines {
            if let Some(value) = value {
                let _ = writeln!(text, "  {name:9} {value}");
            }
        }
        text
    }
}
