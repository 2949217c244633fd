"""What other parts of the service say and people meet often, for the catalogues of the pages.

Those parts speak English and know no catalogue. Errors whose sentence has no value in it need not
be here: they are found by the name of their class. A sentence that is not here stays English.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from jupyterhub_binder.web.i18n import N_, SOURCE, gettext, spoken

MOST_CHARACTERS = 2000
"""Of a sentence that is looked for; a longer one stays as it is."""

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
    N_("%(label)s has no branch, tag or commit %(ref)s."),
    N_("%(label)s is empty, or has no default branch: name a branch."),
    N_("%(doi)s has no published version %(version)s. Leave it out for the newest."),
    N_("This hub finds no host called %(host)s."),
    N_("This hub does not fetch repositories from %(host)s."),
    N_("%(host)s could not be read by git: try again later."),
    N_("%(host)s did not answer within %(seconds)s seconds: try again later."),
    N_("%(host)s did not answer: try again later."),
    N_(
        "You have %(used)s builds waiting or running, and may have %(most)s. "
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
)
"""Each as it is said, with names for the values in it."""


def say(message: str) -> str:
    """Return a sentence of another part of the service in the language that is spoken.

    Those parts speak English. What the catalogue has as it stands is translated; of sentences
    with values in them those of `SENTENCES`; any other stays as it is.
    """
    if spoken() == SOURCE or not 0 < len(message) <= MOST_CHARACTERS:
        return message
    translated = gettext(message)
    if translated != message:
        return translated
    for sentence, pattern in _patterns().items():
        if found := pattern.fullmatch(message):
            return gettext(sentence, **found.groupdict())
    where, colon, rest = message.partition(": ")
    if colon and " " not in where and (translated := say(rest)) != rest:
        return f"{where}: {translated}"
    return message


@functools.cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    """Return each sentence of `SENTENCES` as a pattern that finds its values again."""
    return {
        sentence: re.compile(
            re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+?)", re.escape(sentence)), re.DOTALL
        )
        for sentence in SENTENCES
    }
