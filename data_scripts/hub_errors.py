# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What can go wrong between a user and the Hub, said in sentences that tell what to do; and a repository made ready
before the work whose result goes there, so that hours are not lost to a wrong token."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNREACHABLE = (httpx2.TransportError, ConnectionError, TimeoutError, LocalEntryNotFoundError)
TOKENS_PAGE = f"{constants.ENDPOINT}/settings/tokens"
NO_TOKEN = f"No token for the Hub: run `hf auth login`, or set HF_TOKEN to a token from {TOKENS_PAGE}."


class HubError(RuntimeError):
    """A push or a load failed for a reason outside this program; the message says what the user can do about it."""


def prepare_repository(repo_id: str, repo_type: str, private: bool = False, revision: str | None = None) -> str:
    """Sees to it that the repository and its branch exist and may be written to.

    Args:
        repo_id: `name` or `namespace/name`.
        repo_type: "model", "dataset" or "space" (of gradio).
        private: make it private; without this, a new one has the namespace's default visibility.
        revision: branch to push to, made from the main branch if there is none of that name.

    Returns:
        The repository's full name, `namespace/name`.

    Raises:
        HubError: without a valid token that may write there, without the Hub, or if `private` is asked for and the
            repository is there and public.
    """
    api = HfApi()
    with explain_hub_errors(repo_id, repo_type, revision):
        api.whoami()
        sdk = "gradio" if repo_type == "space" else None
        url = api.create_repo(repo_id, repo_type=repo_type, private=private or None, exist_ok=True, space_sdk=sdk)
        # Someone else's repository "exists", too: only this tells that it may not be written to.
        try:
            api.auth_check(url.repo_id, repo_type=repo_type, write=True)
        except RepositoryNotFoundError as error:
            raise HubError(_explain_forbidden(url.repo_id, repo_type, "it is private")) from error
        if private and not api.repo_info(url.repo_id, repo_type=repo_type).private:
            raise HubError(
                f"The {repo_type} {url.repo_id} is on the Hub already, and public. Make it private in its settings"
                " first, or name another."
            )
        if revision is not None:
            api.create_branch(url.repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
    return url.repo_id


def check_repository(repo_id: str, repo_type: str, revision: str | None = None) -> None:
    """Asks the Hub once whether it has what is to be loaded from it: a library that loads asks for each file five
    times, with longer and longer pauses, before it says that nothing is there.

    Args:
        repo_id: a repository; nothing is asked of a folder, nor where the cache has the repository.
        repo_type, revision: as for `explain_hub_errors`.

    Raises:
        HubError: if there is none, it may not be read, or the Hub cannot be reached.
    """
    if constants.is_offline_mode() or Path(repo_id).exists():
        return
    with explain_hub_errors(repo_id, repo_type, revision):
        folder = repo_folder_name(repo_id=repo_id, repo_type=repo_type)
        if not (Path(constants.HF_HUB_CACHE) / folder).is_dir():
            try:
                HfApi().repo_info(repo_id, repo_type=repo_type, revision=revision, timeout=10)
            except UNREACHABLE as error:
                raise HubError(
                    f"There is no folder {repo_id!r} here, and the Hub at {constants.ENDPOINT} cannot be reached to"
                    f" ask for a {repo_type} of that name ({_reason(error)})."
                ) from error


@contextmanager
def explain_hub_errors(repo_id: str, repo_type: str, revision: str | None = None) -> Iterator[None]:
    """Turns what huggingface_hub and datasets raise within the block into a `HubError`.

    Exceptions that are none of the Hub's, the network's, or a full disk's pass as they are.

    Args:
        repo_id: the repository that is pushed to or loaded from.
        repo_type: "model", "dataset" or "space".
        revision: its branch, tag or commit, if one was named.

    Raises:
        HubError: saying what is wrong and what to do.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        message = _explain(error, repo_id, repo_type, revision)
        if message is None:
            raise
        raise HubError(message) from error


def _explain(error: Exception, repo_id: str, repo_type: str, revision: str | None) -> str | None:
    """The sentences for an exception or what caused it; None if it is not about the Hub, the network or the disk."""
    from datasets.exceptions import DatasetNotFoundError  # half a second, which most commands do not need

    links = list(_chain(error))

    def find(*kinds):
        return next((link for link in links if isinstance(link, kinds)), None)

    if full := next(filter(is_disk_full, links), None):
        return explain_full_disk(full)
    if invalid := find(HFValidationError):
        return f"{repo_id!r} cannot be the name of a repository: {invalid}"
    if find(LocalTokenNotFoundError):
        return NO_TOKEN
    if find(RevisionNotFoundError):
        return f"The {repo_type} {repo_id} on the Hub has no branch, tag or commit {revision!r}."
    missing = find(RepositoryNotFoundError, DatasetNotFoundError)
    if find(GatedRepoError) or "is a gated" in str(missing):
        return f"The {repo_type} {repo_id} is gated: log in as your token's account, and ask for access on its page."
    if missing:
        access = (
            "your token's account has no access to it" if get_token() else "there is no token (run `hf auth login`)"
        )
        absent = f"There is no {repo_type} {repo_id!r} on the Hub, nor a folder of that name here"
        return f"{absent}; or it is private, and {access}."
    if answer := find(HfHubHTTPError):
        return _explain_answer(answer, repo_id, repo_type)
    if constants.is_offline_mode() and find(*UNREACHABLE):
        return f"HF_HUB_OFFLINE is set, and the {repo_type} {repo_id} is not wholly in the cache: unset it."
    # When the connection breaks, the upload's other threads find their client closed: a RuntimeError like any other.
    if find(*UNREACHABLE) or any(str(link).startswith("Error while uploading") for link in links):
        return (
            f"The Hub at {constants.ENDPOINT} cannot be reached, or stopped answering ({_reason(links[-1])}). Check"
            " the connection, and run this again."
        )
    return None


def _reason(error: BaseException) -> str:
    """What an exception says, without the system's number for it."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what it was raised from, down to the first cause. What was merely being handled when it was
    raised is no cause."""
    while error is not None:
        yield error
        error = error.__cause__


def _explain_answer(error: HfHubHTTPError, repo_id: str, repo_type: str) -> str:
    """What to do about an answer of the Hub that is none of the named ones."""
    status, words = error.response.status_code, error.server_message or str(error).strip().split("\n")[0]
    words = words.strip() or "without a reason"
    if status == 401 and get_token() is None:
        return NO_TOKEN
    if status == 401:
        return (
            "The Hub does not know this token: it is mistyped, expired or revoked. Run `hf auth login --force`, or"
            f" set HF_TOKEN to a token from {TOKENS_PAGE}."
        )
    request = error.response.request
    writes = request.method not in ("GET", "HEAD") or "/auth-check" in request.url.path
    if status == 403 and writes:
        return _explain_forbidden(repo_id, repo_type, words)
    if status == 429:
        return f"The Hub was asked too much at a time ({words}). Wait some minutes, and run this again."
    if status == 507:
        return f"The Hub has no room for these files ({words}). Free or buy storage there, and run this again."
    if status >= 500:
        return f"The Hub has a fault of its own ({status}: {words}). Run this again later."
    return f"The Hub refuses this for the {repo_type} {repo_id} ({status}: {words})."


def _explain_forbidden(repo_id: str, repo_type: str, words: str) -> str:
    """Why the token may not write: it only reads, or the namespace is someone else's."""
    try:
        account = HfApi().whoami()
    except (HfHubHTTPError, httpx2.TransportError, LocalTokenNotFoundError):
        return f"The Hub forbids this for the {repo_type} {repo_id} ({words})."
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        return f"The token may only read. Make one with write access at {TOKENS_PAGE}, and log in with it."
    mine = [account["name"], *(organization["name"] for organization in account.get("orgs", []))]
    namespace = repo_id.split("/")[0] if "/" in repo_id else account["name"]
    if namespace not in mine:
        return (
            f"{account['name']!r} may not write to {namespace!r} ({words}). Push to a namespace of your own"
            f" ({', '.join(mine)}), or ask {namespace!r} for write access."
        )
    return f"The token has no right to write to {repo_id} ({words}). Give it that right at {TOKENS_PAGE}."


def is_disk_full(error: BaseException) -> bool:
    """Whether a local disk (or a quota on it) is full; libraries in Rust and SQLite say so in their message only."""
    if isinstance(error, OSError) and not isinstance(error, HfHubHTTPError) and error.errno in NO_SPACE:
        return True
    return any(words in str(error) for words in ("No space left on device", "database or disk is full"))


def explain_full_disk(error: BaseException) -> str:
    """What to do about a full disk."""
    place = f" of {error.filename}" if getattr(error, "filename", None) else ""
    return (
        f"The disk{place} is full. Make room, or use another disk (for what is written: another output folder; for"
        f" temporary files: TMPDIR; for what comes from the Hub: HF_HOME, now {constants.HF_HOME}), and run again."
    )
