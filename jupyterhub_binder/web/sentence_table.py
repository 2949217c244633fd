"""The sentences with values, and parts of sentences, that other parts of the service say.

Data for `web.sentences`, which finds them again and says them in another language; a test sees
that no sentence which an error brings to a person is missing here.
"""

from __future__ import annotations

from jupyterhub_binder.web.i18n import N_

SENTENCES = (
    # Errors, and states.
    N_("This hub is about to be upgraded. Builds wait until that is done."),
    N_("The build was cancelled."),
    N_("The hub is busy. Try again in a moment."),
    N_("Is not used: another file takes precedence"),
    N_("Git repository"),
    N_(
        "That Binder link is of a provider called %(prefix)s, and this hub has none. "
        "It has %(known)s."
    ),
    N_("That Binder link names no repository after %(prefix)s/."),
    N_("%(label)s is empty, or has no default branch: name a branch."),
    N_("%(doi)s has no published version %(version)s. Leave it out for the newest."),
    N_("This hub finds no host called %(host)s."),
    N_("This hub does not fetch repositories from %(host)s."),
    N_("%(host)s could not be read by git: try again later."),
    N_("%(host)s did not answer within %(seconds)s seconds: try again later."),
    N_("%(host)s did not answer: try again later."),
    N_(
        "You have reached your limit of builds that wait or run (%(used)s of %(most)s). "
        "Wait for one to end, or cancel one."
    ),
    N_(
        "%(most)s servers of yours are being started, and no more may be at once. "
        "Wait for one, or cancel one."
    ),
    N_(
        "You keep %(used)s environments, and may keep %(most)s. Delete one that you no longer need."
    ),
    N_("uv could not install the packages: %(why)s"),
    N_("repo2docker could not build the image: %(why)s"),
    N_(
        "The environment takes more than the %(most)s MB that this hub allows. "
        "Name fewer or smaller packages."
    ),
    N_(
        "Something went wrong inside the service. "
        "Its administrators find it in the log as request %(request)s."
    ),
    # What backends would do with a repository's files, and what they are.
    N_("Names no package"),
    N_("Installs one package"),
    N_("Installs %(count)s packages"),
    N_("Cannot be read"),
    N_("Uses Python %(version)s"),
    N_("Installs the repository as a package"),
    N_("Runs at the end, with network"),
    N_("Runs at the end, without network"),
    N_("This hub does not run it when a server starts"),
    N_("This hub does not know what to do with it, and leaves it"),
    N_("This hub builds Python environments only."),
    N_("repo2docker does not read it."),
    N_("The repository asks for Python %(asked)s; this hub's images have %(python)s."),
    N_(
        "The repository asks for Python %(asked)s; this hub has %(known)s. Ask for one of "
        "these, or ask the hub's admin to add it."
    ),
    N_("Builds the image as it says, and nothing else is read"),
    N_("Installs its packages with conda"),
    N_("Installs its packages"),
    N_("Installs its packages with apt"),
    N_("Runs it, with R"),
    N_("Installs the repository as an R package"),
    N_("Installs its packages, with Julia"),
    N_("Fixes the versions of Julia's packages"),
    N_("Builds the environment with Nix"),
    N_("Chooses the language's version"),
    N_("Runs at the end of the build"),
    N_("Runs at each start of a server"),
    N_("This hub cannot install apt packages; PyPI often has the same library as a wheel."),
    N_("This hub cannot install R; it builds Python environments only."),
    N_("This hub cannot install Julia; it builds Python environments only."),
    N_("This hub cannot build with Nix; name the Python packages in requirements.txt."),
    N_("This hub has no containers; name the Python packages in requirements.txt."),
    N_(
        "This hub does not read Pipfile; name the packages in requirements.txt (`pipenv "
        "requirements` writes it)."
    ),
    N_(
        "This hub does not read Pipfile.lock; name the packages in requirements.txt (`pipenv "
        "requirements` writes it)."
    ),
    N_("Makes container images with repo2docker."),
    N_("Container images, made by repo2docker on a BinderHub."),
    N_("Container images, made by repo2docker on several BinderHubs."),
    N_(
        "Makes Python environments in a folder of this machine; other languages and system "
        "packages need a hub that builds container images."
    ),
    N_("The one package names no version: another build may bring another one."),
    N_("1 of %(packages)s packages names no version: another build may bring another one."),
    N_(
        "%(unpinned)s of %(packages)s packages name no version: another build may bring "
        "another one."
    ),
    N_(
        "This hub builds images without conda: name Python packages in requirements.txt and "
        "system packages in apt.txt, or write a Dockerfile."
    ),
    # A repository's address, its records and its refs.
    N_("%(label)s has no branch, tag or commit %(ref)s. Did you mean %(names)s?"),
    N_("%(label)s has no branch, tag or commit %(ref)s. Check its name."),
    N_("%(label)s has no %(request)s: check its number."),
    N_("%(label)s has no commit %(sha)s: check it, or choose a branch."),
    N_(
        "No branch or tag of %(label)s leads to exactly one commit that begins with %(sha)s: "
        "give more of its sha."
    ),
    N_("That names no repository: it is written %(form)s."),
    N_("That names no repository: open one on %(host)s."),
    N_("Repositories cannot be fetched by that: use https."),
    N_("Repositories cannot be fetched by %(scheme)s: use https."),
    N_("There is no provider '%(prefix)s': this hub has %(known)s."),
    N_("This hub builds no repositories of the kind “%(kind)s” at the moment: it has %(known)s."),
    N_(
        "%(provider)s has no branches or tags: leave the ref out, and paste the address of "
        "the version that you want."
    ),
    N_("%(provider)s has no records."),
    N_("That is no address of a CKAN dataset: %(example)s."),
    N_("That names no HydroShare resource: write %(example)s."),
    N_("That is no DOI: it is written %(example)s."),
    N_(
        "%(doi)s is no record of this kind: it leads to %(host)s. Paste the address that your"
        " browser shows there."
    ),
    N_("%(host)s described %(what)s in a way that this hub does not understand."),
    # What hosts answer, and which are asked.
    N_("This hub does not fetch by %(scheme)s://."),
    N_("This hub does not fetch repositories by %(scheme)s://."),
    N_("This hub does not fetch records from %(host)s."),
    N_("%(host)s is not a host of the internet: this hub refuses it."),
    N_("%(host)s could not be looked up just now: try again later."),
    N_("%(host)s could not be reached safely: its certificate is not trusted."),
    N_("%(host)s has no %(what)s: check it."),
    N_("%(host)s keeps %(what)s closed: it is private, or not yet open."),
    N_("%(host)s answered with an error (%(status)s): try again later."),
    N_("%(host)s answered with more than %(most)s."),
    N_("%(host)s answered with something else than it should about %(what)s: try again later."),
    N_("%(host)s leads around in circles."),
    N_("%(host)s does not say where %(what)s is."),
    N_("%(host)s sent nothing of %(what)s for %(seconds)s seconds: try again later."),
    N_("%(host)s has had too many questions from this hub: try again in some minutes."),
    N_("%(host)s has had too many questions from this hub: try again in %(time)s."),
    N_("The connection to %(host)s broke: try again later."),
    N_("The connection to %(host)s broke %(times)s times while it sent %(what)s: try again later."),
    # Fetching, and what was fetched.
    N_("Fetching %(label)s took longer than %(seconds)s seconds."),
    N_("git could not lay out %(label)s."),
    N_("%(label)s is larger than the %(most)s that this hub fetches."),
    N_("%(label)s has more than the %(most)s files that this hub fetches."),
    N_("%(label)s has a file and a folder of the same name: '%(path)s'."),
    N_("%(label)s was changed, and its archive keeps no earlier versions: build again."),
    N_("%(path)s is larger than the %(most)s that are left of what this hub fetches."),
    N_(
        "%(path)s is not what its archive says: its %(kind)s checksum is %(found)s and should"
        " be %(wanted)s. Try again; if that fails too, tell the archive."
    ),
    N_("%(path)s has %(found)s bytes; its archive says %(wanted)s."),
    N_("The archive holds a file '%(path)s', which would lie outside of its folder."),
    N_("The archive holds a file that no disk takes: '%(path)s'."),
    N_("The zip file cannot be read: %(why)s."),
    N_("The zip file has more than the %(most)s files that this hub fetches."),
    N_("Unpacked, the zip file is larger than the %(most)s that this hub fetches."),
    # The files that configure an environment.
    N_("%(path)s does not begin with #! and may not run."),
    N_("%(path)s has the line ends of Windows: it may not run."),
    N_("%(path)s is no longer read: write a Project.toml."),
    N_("%(path)s is ignored: the file must be called %(name)s."),
    N_("%(path)s leads to nothing of the repository: it is ignored."),
    N_("%(path)s cannot be read."),
    N_("%(path)s is larger than %(most)s: that is no configuration."),
    N_("%(path)s is written in UTF-16: save it as UTF-8."),
    N_("%(path)s is no text."),
    N_("%(path)s has a line of more than %(most)s letters."),
    N_("%(path)s installs from a folder or an address: %(line)s"),
    N_("%(path)s installs from an address: %(line)s"),
    N_("%(path)s sets an option of pip: %(line)s"),
    N_("%(path)s includes a file of another host: %(line)s"),
    N_("%(path)s includes a file from outside of the repository."),
    N_("%(path)s includes %(other)s, which was not looked at."),
    N_("%(path)s has a line that pip will refuse: %(line)s"),
    N_("%(path)s must be a mapping with dependencies."),
    N_("%(path)s is too large to be an environment."),
    N_("%(path)s is too large to be looked at."),
    N_("%(path)s is not valid YAML."),
    N_("%(path)s is not valid YAML in line %(line)s."),
    N_("%(path)s is YAML of a kind that is not read here."),
    N_("%(path)s is not a JSON object."),
    N_("%(path)s is not valid TOML."),
    N_("%(path)s says '%(version)s': write it like python-3.11."),
    N_(
        "This hub cannot install conda packages (%(packages)s); list those that are on PyPI "
        "under `pip:` or in requirements.txt."
    ),
    N_("%(path)s seems to download something; on this hub it runs without network."),
    N_("%(path)s is a program of the repository. %(why)s"),
    N_("“%(line)s” is not from a package index. %(why)s"),
    N_("%(path)s: “%(line)s” cannot be installed: %(why)s."),
    N_("%(path)s: cannot be installed: %(why)s."),
    # Launches.
    N_("Waiting to begin."),
    N_("Waiting for the build."),
    N_("Waiting for the build: number %(number)s in the queue."),
    N_("Build: waiting."),
    N_("Build: fetching."),
    N_("Build: building."),
    N_("Build: pushing."),
    N_("Build: built."),
    N_("Build: failed."),
    N_("Starting the server."),
    N_("The server is ready."),
    N_("Cancelled, but the server could not be stopped: %(why)s"),
    # Builds.
    N_("BinderHub says that the build failed, and not why: see the last lines of its log."),
    N_("%(why)s BinderHub was left; on Kubernetes it makes an image to its end once it has begun."),
    N_("This hub's builds take no option '%(option)s'."),
    N_(
        "The service stopped %(times)s times while it made this build, so it is not tried "
        "again by itself. Build it again if you think it was chance."
    ),
    N_("The service could not go on with the build (%(why)s)."),
    N_("The packages cannot be installed: %(why)s"),
    N_(
        "The packages cannot be installed: %(why)s This hub installs ready-made packages "
        "(wheels); choose versions that have one for its Python. %(more)s"
    ),
    N_(
        "The packages cannot be installed: %(why)s This hub installs ready-made packages "
        "(wheels); choose versions that have one for its Python."
    ),
    N_(
        "The packages cannot be installed: %(why)s Every environment also has what its server"
        " needs: %(packages)s"
    ),
    N_("%(path)s failed (%(status)s)."),
    N_("%(path)s failed (%(status)s). Its last line: %(line)s"),
    N_(
        "%(program)s does not start in the new environment (%(status)s); a package of the "
        "repository may break it. The log has the error."
    ),
    N_(
        "No BinderHub takes this build: %(why)s. The repository is not to blame; tell the "
        "hub's administrators, or build again later."
    ),
    N_("This hub's BinderHub does not build repositories of the kind '%(kind)s'."),
    N_("BinderHub knows no repositories of the kind '%(kind)s'."),
    N_("A container uses the image %(image)s."),
    N_("The container engine did not answer within %(seconds)s seconds."),
    N_("The container engine (%(name)s) refused: %(why)s"),
    N_("The container engine's program (%(name)s) cannot be run: %(why)s."),
    N_(
        "The service cannot write to its folder of builds (%(why)s): tell the hub's administrators."
    ),
    N_(
        "The image was built, but the registry did not take it: %(why)s. Build it again; if "
        "that fails too, tell the hub's administrators."
    ),
    N_(
        "The image was built, but `jupyterhub-singleuser --version` did not end in it within "
        "%(seconds)s seconds; an entrypoint or start script may hang."
    ),
    N_("The image was built, but no server could start from it: %(why)s"),
    N_(
        "The image was built, but no server could start from it: it does not run commands: "
        'its entrypoint must end with exec "$@".'
    ),
    N_(
        "The image was built, but no server could start from it: its entrypoint or start "
        "script says more than a log takes."
    ),
    N_(
        "The image was built, but no server could start from it: it runs as user id "
        "%(found)s, and people's homes belong to %(wanted)s. End its Dockerfile with `USER "
        "%(user)s`."
    ),
    N_(
        "The image was built, but no server could start from it: its user cannot write to its"
        " home, which is not set. Its Dockerfile should say `ENV HOME=%(wanted)s`."
    ),
    N_(
        "The image was built, but no server could start from it: its user cannot write to its"
        " home, %(home)s. Its Dockerfile should say `ENV HOME=%(wanted)s`."
    ),
    N_(
        "The image was built, but no server could start from it: `jupyterhub-singleuser "
        "--version` fails in it. Install jupyterhub and jupyterlab outside of the home."
    ),
    N_(
        "The image was built, but no server could start from it: `jupyterhub-singleuser "
        "--version` fails in it. Install jupyterhub and jupyterlab outside of the home. "
        "%(line)s."
    ),
    N_(
        "The image was built, but no server could start from it: its jupyterhub-singleuser is"
        " %(found)s, and this hub takes %(wanted)s. Ask for that version of jupyterhub."
    ),
    # The registry, and images that are removed.
    N_("The registry %(host)s gave no token."),
    N_(
        "The registry %(host)s refuses access; the hub's admin should look at the credentials"
        " in Registry.docker_config."
    ),
    N_(
        "The registry %(host)s refuses access to %(what)s; the hub's admin should look at the"
        " credentials in Registry.docker_config."
    ),
    N_("The registry %(host)s has a list that does not end after %(count)s pages."),
    N_("The registry %(host)s lists more than %(count)s names; no more are read."),
    N_("The registry %(host)s names no address where tokens are."),
    N_(
        "The registry %(host)s wants its credentials sent to %(scheme)s://%(there)s. They are "
        "sent over https alone, and over http only to the very address of a registry that is "
        "itself on http; the hub's admin should look at the registry's realm and at Registry.url."
    ),
    N_(
        "The registry %(host)s wants its credentials sent to http://%(there)s. They are sent "
        "over https alone, and over http only to the very address of a registry that is itself "
        "on http; the hub's admin should look at the registry's realm and at Registry.url."
    ),
    N_("The registry %(host)s answered with status %(status)s."),
    N_(
        "The registry %(host)s does not delete images; Debian's and Docker's do with "
        "`storage.delete.enabled: true`."
    ),
    N_("The registry %(host)s does not answer (%(why)s)."),
    N_(
        "%(count)s running server(s) use an environment that is deleted (%(example)s, for "
        "example), and which image that was is not known. Stop them to make room."
    ),
    # Environments, launches, limits, and the hub.
    N_("“%(name)s” has no build %(number)s."),
    N_("Build %(number)s has no image to start from. Choose one that succeeded, or build again."),
    N_("The name has %(used)s characters; %(most)s are the most."),
    N_(
        "Your server already runs %(other)s. Open it, restart it with this environment, or "
        "start this one under another name."
    ),
    N_(
        "Your server “%(server)s” already runs %(other)s. Open it, restart it with this "
        "environment, or start this one under another name."
    ),
    N_(
        "Your server already runs another build of “%(name)s”. Open it, restart it with the "
        "current build, or start this one under another name."
    ),
    N_(
        "Your server “%(server)s” already runs another build of “%(name)s”. Open it, restart "
        "it with the current build, or start this one under another name."
    ),
    N_("Name the person."),
    N_("Name the group."),
    N_("'%(name)s' must be between %(least)s and %(most)s."),
    N_("'%(name)s' must be %(least)s or more."),
    N_("'%(name)s' must be a whole number."),
    N_("'%(name)s' must be text."),
    N_("'%(name)s' must not be empty."),
    N_("'%(name)s' may have %(most)s characters."),
    N_("'%(name)s' must be one line without control characters."),
    N_("'%(name)s' must be true or false."),
    N_("'%(name)s' must be one of %(known)s."),
    N_("'%(name)s' must be an object."),
    N_("The body may have %(most)s bytes."),
    N_("Unknown key '%(key)s'. Known keys: none."),
    N_("Unknown key '%(key)s'. Known keys: %(known)s."),
    N_("%(limit)s: a whole number."),
    N_("Names that begin with %(prefix)s are those of services of the hub."),
    N_(
        "The hub does not allow this. Sign in again; if that does not help, ask an "
        "administrator. (%(why)s)"
    ),
    N_("The hub knows no such user or server."),
    N_("The hub refused with status %(status)s."),
    N_("The hub failed with status %(status)s. Try again in a moment."),
    # Rules, and what git says.
    N_("%(name)s is banned on this hub by its administrators."),
    N_("%(name)s is banned on this hub: %(why)s."),
    N_(
        "%(name)s is not among the repositories that this hub builds. Ask its administrators "
        "to allow it."
    ),
    N_(
        "%(where)s has moved: the host answers with another address. Open it in a browser and"
        " paste the address that you see there."
    ),
    N_("There is no repository at %(where)s, or it is private: check the address."),
    N_("This hub does not fetch from %(where)s."),
)
"""Each as it is said, with names for the values in it."""

PARTS = (
    # Why a BinderHub takes no build.
    N_("%(hub)s said nothing for %(seconds)s seconds"),
    N_("the address of %(hub)s is not known here"),
    N_("%(hub)s did not answer in time"),
    N_("%(hub)s cannot be reached"),
    N_("the connection to %(hub)s broke"),
    N_("%(hub)s gives no account of its health"),
    N_("%(hub)s answers %(status)s"),
    N_("BinderHub, or a proxy before it, answers %(status)s"),
    N_("%(hub)s ended the log before the build's end"),
    N_("BinderHub lost sight of the build"),
    N_("no BinderHub answers at the configured address (status %(status)s)"),
    N_(
        "BinderHub does not know this service: its administrator gives it a token of the hub "
        "with the scope access:services!service=<BinderHub's name>"
    ),
    N_(
        "BinderHub takes no more builds from this service for now: it counts those who are "
        "strangers to it. Its administrator gives the service a token, or the secret of its "
        "build tokens"
    ),
    # Other values.
    N_(
        "Docker's program cannot build without its buildx plugin, which is missing. An "
        "administrator installs it where builds run (Debian: docker-buildx; Docker's own "
        "packages: docker-buildx-plugin), or has Podman build."
    ),
    N_("Cancelled."),
    N_("Cancelled by an administrator."),
    N_("Nobody wants this build any more."),
    N_("error"),
    N_("something else"),
    N_("“%(name)s”"),
    N_("pull request #%(number)s"),
    N_("merge request !%(number)s"),
    N_("dataset %(name)s"),
    N_("resource %(name)s"),
    N_("%(count)s minutes"),
    N_("%(count)s seconds"),
    N_("1 second"),
    N_("exit status %(status)s"),
    N_("uv gave no reason."),
    N_("repo2docker gave no reason."),
    N_("there are more than %(most)s lines"),
    N_("it has more than %(most)s characters"),
    N_("variables and control characters are not allowed"),
    N_("the option %(option)s is not supported here"),
    N_("it names a file outside of the repository"),
    N_("there are more than %(most)s files"),
    N_("there is no file %(path)s in the repository"),
    N_("this hub does not allow that package index"),
    N_("it is not a requirement (%(why)s)"),
    N_("a constraint may not hold an address"),
    N_("options and markers after an address are not supported"),
    N_("it names a place outside of the repository"),
    N_("it is longer than %(most)s characters."),
    N_("it is not YAML (%(why)s)."),
    N_("it is nested too deeply."),
    N_("it should be a mapping with a list of `dependencies`."),
)
"""What values are, where they are words of ours and not a name or another program's."""
