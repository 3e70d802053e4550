# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""A repository made ready before the work whose result goes there, so that hours are not lost to a wrong token."""

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from data_scripts.hub_errors import HubError, explain_forbidden, explain_hub_errors


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
            raise HubError(explain_forbidden(url.repo_id, repo_type, "it is private")) from error
        if private and not api.repo_info(url.repo_id, repo_type=repo_type).private:
            raise HubError(
                f"The {repo_type} {url.repo_id} is on the Hub already, and public. Make it private in its settings"
                " first, or name another."
            )
        if revision is not None:
            api.create_branch(url.repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
    return url.repo_id
