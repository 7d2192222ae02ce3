//! The instructions of a Dockerfile, and what each does to an image's files.
//!
//! In: the file's text; a folder that is the image's root. Out: that folder filled, and the command that the image runs.
//! Law: an instruction that is not known fails the test, so that none goes untried.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a line of shell in a root folder, with the devices and processes of this machine.
const INSIDE: &str = "mount --rbind /dev \"$1/dev\"; mount -t proc proc \"$1/proc\"; exec chroot \"$1\" sh -c \"$2\"";

/// As an image has it that says nothing else.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// From one `FROM` to the next.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) from: String,
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// An instruction.
#[derive(Debug)]
pub(crate) enum Step {
    Arg {
        name: String,
        value: String,
    },
    Env {
        name: String,
        value: String,
    },
    Run(String),
    Workdir(String),
    User(String),
    Copy {
        from: Option<String>,
        owner: Option<String>,
        sources: Vec<String>,
        to: String,
    },
    Entrypoint(Vec<String>),
    Cmd(Vec<String>),
    /// Says something of the image, and changes no file.
    Said,
}

/// The stages of the file.
pub(crate) fn stages(text: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let joined = text.replace("\\\n", " ");
    for line in joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "FROM" {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let name = if let [_, "AS", name] = words[..] { name } else { "" };
            stages.push(Stage { from: words[0].to_owned(), name: name.to_owned(), steps: Vec::new() });
        } else {
            stages.last_mut().expect("FROM comes first").steps.push(step(word, rest));
        }
    }
    stages
}

fn step(word: &str, rest: &str) -> Step {
    let pair = || {
        let (name, value) = rest.split_once('=').unwrap_or_else(|| panic!("{word} {rest}: no `=`"));
        (name.to_owned(), value.to_owned())
    };
    match word {
        "ARG" => {
            let (name, value) = pair();
            Step::Arg { name, value }
        }
        "ENV" => {
            let (name, value) = pair();
            Step::Env { name, value }
        }
        "RUN" => Step::Run(rest.to_owned()),
        "WORKDIR" => Step::Workdir(rest.to_owned()),
        "USER" => Step::User(rest.to_owned()),
        "COPY" => copy(rest),
        "ENTRYPOINT" => Step::Entrypoint(serde_json::from_str(rest).unwrap()),
        "CMD" => Step::Cmd(serde_json::from_str(rest).unwrap()),
        "EXPOSE" | "VOLUME" | "STOPSIGNAL" => Step::Said,
        _ => panic!("{word}: this test does not know what it does"),
    }
}

fn copy(rest: &str) -> Step {
    let (flags, mut names): (Vec<&str>, Vec<&str>) = rest.split_whitespace().partition(|word| word.starts_with("--"));
    let flag = |name: &str| flags.iter().find_map(|flag| flag.strip_prefix(name)).map(str::to_owned);
    let to = names.pop().expect("COPY has a target").to_owned();
    let sources = names.into_iter().map(str::to_owned).collect();
    Step::Copy { from: flag("--from="), owner: flag("--chown="), sources, to }
}

/// An image that is being made.
pub(crate) struct Image {
    root: PathBuf,
    folder: PathBuf,
    user: String,
    environment: BTreeMap<String, String>,
    given: BTreeMap<String, String>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
}

impl Image {
    pub(crate) fn at(root: &Path) -> Self {
        let (environment, given) = (BTreeMap::new(), BTreeMap::new());
        let (folder, user) = (PathBuf::from("/"), "0:0".to_owned());
        Self { root: root.to_owned(), folder, user, environment, given, entrypoint: Vec::new(), cmd: Vec::new() }
    }

    /// As `--build-arg` gives it.
    pub(crate) fn with_argument(mut self, name: &str, value: &str) -> Self {
        self.given.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Carries an instruction out. `stage` says where the files of a stage lie, and for an empty name those of the build's
    /// context.
    pub(crate) fn take(&mut self, step: &Step, stage: &dyn Fn(&str) -> PathBuf) {
        match step {
            Step::Arg { name, value } => {
                let value = self.given.get(name).unwrap_or(value).clone();
                self.environment.insert(name.clone(), value);
            }
            Step::Env { name, value } => {
                self.environment.insert(name.clone(), value.clone());
            }
            Step::Run(line) => self.run(line),
            Step::Workdir(folder) => {
                self.folder = self.folder.join(folder);
                fs::create_dir_all(self.inside(&self.folder)).unwrap();
            }
            Step::User(user) => self.user.clone_from(user),
            Step::Copy { from, owner, sources, to } => {
                let origin = stage(from.as_deref().unwrap_or_default());
                for source in sources {
                    self.copy(&origin.join(source.trim_start_matches('/')), to, owner.as_deref());
                }
            }
            Step::Entrypoint(words) => self.entrypoint.clone_from(words),
            Step::Cmd(words) => self.cmd.clone_from(words),
            Step::Said => {}
        }
    }

    fn run(&self, line: &str) {
        // What is mounted for the step is gone with the step's own list of mounts.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", INSIDE]).arg("sh").arg(&self.root);
        command.arg(format!("cd {} && {line}", self.folder.display()));
        // The build outside may have told its own where to build.
        command.envs(&self.environment).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
        let output = command.env("CARGO_PROFILE_DEV_DEBUG", "0").output().unwrap();
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "RUN {line}\n{}", told.join("\n"));
    }

    /// As `COPY` does: a folder's files, not the folder; a target with `/` at its end is a folder.
    fn copy(&self, source: &Path, to: &str, owner: Option<&str>) {
        let mut target = self.inside(&self.folder.join(to));
        if source.is_dir() {
            fs::create_dir_all(&target).unwrap();
        } else {
            if to.ends_with('/') {
                target = target.join(source.file_name().unwrap());
            }
            fs::create_dir_all(target.parent().unwrap()).unwrap();
        }
        let from = if source.is_dir() { source.join(".") } else { source.to_owned() };
        let copied = Command::new("cp").args(["--recursive", "--dereference"]).arg(from).arg(&target).status();
        assert!(copied.unwrap().success(), "COPY {}", source.display());
        if let Some(owner) = owner {
            assert!(Command::new("chown").args(["-R", owner]).arg(&target).status().unwrap().success());
        }
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What the image runs, as its user.
    pub(crate) fn command(&self) -> Command {
        let (user, group) = self.user.split_once(':').expect("USER names a group, too");
        let mut command = Command::new("unshare");
        command.arg("--root").arg(&self.root).arg("--wd").arg(&self.folder).args(["--setgid", group, "--setuid", user]);
        command.args(&self.entrypoint).args(&self.cmd).env_clear().env("PATH", PATH).envs(&self.environment);
        command
    }
}
