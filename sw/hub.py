"""Checkpoints on the Hugging Face hub, by name: `org/name` or `org/name@revision`.

huggingface_hub downloads them into its cache and finds them there again. Its environment variables apply: HF_TOKEN,
HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_ENDPOINT, HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT (10 s each). Its
telemetry is switched off.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from sw.errors import CheckpointError

__all__ = ["HubName"]

NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([^@\s]+))?", re.ASCII)

TEXT_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
              "special_tokens_map.json", "chat_template.jinja", "model.safetensors.index.json")
WEIGHTS = "*.safetensors"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@dataclass(frozen=True)
class HubName:
    """The name of a checkpoint on the hub; without a revision, the one that the hub calls main."""

    repository: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> HubName | None:
        """None if the text cannot be the name of a checkpoint on the hub: it is a path."""
        match = NAME.fullmatch(text)
        return cls(*(part for part in match.groups() if part)) if match else None

    def fetch(self) -> Path:
        """The folder of the checkpoint in the cache, after the files that are missing there have been downloaded.

        Only configuration, tokenizer and safetensors files are downloaded. A transfer that breaks off is resumed. If
        the hub does not answer, the cached checkpoint is used, with a warning unless HF_HUB_OFFLINE is set.

        Raises:
            CheckpointError: the checkpoint does not exist or has no safetensors files, may not be read, or cannot be
                downloaded or stored.
        """
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

        constants.HF_HUB_DISABLE_TELEMETRY = True
        # The library raises errors of its HTTP client, of its JSON and of the operating system, and its own.
        try:
            names = self._listed()
        except CheckpointError:
            raise
        except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise self._sentence(error) from error
        except Exception as error:
            return self._cached(error)
        try:
            # The first file stores the commit of the revision in the cache; the others are of that commit.
            folder = Path(hf_hub_download(self.repository, names[0], revision=self.revision)).parent
            for name in names[1:]:
                hf_hub_download(self.repository, name, revision=folder.name)
        except Exception as error:
            raise self._sentence(error, found=True) from error
        return folder

    def _listed(self) -> list[str]:
        """The files to download, config.json first. Raises CheckpointError if the program cannot use them."""
        from huggingface_hub import HfApi, constants

        answer = HfApi().model_info(self.repository, revision=self.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        there = [one.rfilename for one in answer.siblings or [] if "/" not in one.rfilename]
        weights = sorted(name for name in there if fnmatchcase(name, WEIGHTS))
        if not weights or TEXT_FILES[0] not in there:
            others = sorted({Path(name).suffix for name in there} & {".gguf", ".bin", ".pt", ".pth", ".onnx"})
            raise CheckpointError(
                f"{self.repository} on the hub has no {WEIGHTS if TEXT_FILES[0] in there else TEXT_FILES[0]}"
                + (f", but files of type {', '.join(others)}, which cannot be read" if others else "")
                + ": use the repository of the original checkpoint")
        return [*(name for name in TEXT_FILES if name in there), *weights]

    def _cached(self, error: Exception) -> Path:
        """The checkpoint of the cache in place of the hub, which failed. Raises CheckpointError if there is none."""
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

        try:
            folder = Path(snapshot_download(self.repository, revision=self.revision, local_files_only=True))
        except LocalEntryNotFoundError:
            raise self._sentence(error) from error
        if not (folder / TEXT_FILES[0]).exists() or not any(folder.glob(WEIGHTS)):  # a download that was not finished
            raise self._sentence(error) from error
        if not isinstance(error, OfflineModeIsEnabled):
            warnings.warn(f"{constants.ENDPOINT} does not answer ({_line(error)}): {self.repository} is taken from the "
                          "cache, where it may be older", stacklevel=2)
        return folder

    def _sentence(self, error: BaseException, found: bool = False) -> CheckpointError:
        """The message of an error of the library. Unless the hub has `found` the name, it may be a mistyped path."""
        from huggingface_hub import constants
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        hub, name = constants.ENDPOINT, self.repository
        if isinstance(error, LocalEntryNotFoundError) and error.__cause__:
            return self._sentence(error.__cause__, found)
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        log_in = "log in with `hf auth login`, or set HF_TOKEN"
        match error:
            case OfflineModeIsEnabled():
                text = (f"there is no folder {name}, and no checkpoint of that name and revision {self.revision} in "
                        f"{constants.HF_HUB_CACHE}: unset HF_HUB_OFFLINE to download it")
            case GatedRepoError():
                text = (f"{name} may be read only by users who accepted its conditions: accept them at {hub}/{name}, "
                        f"and {log_in}")
            case RevisionNotFoundError():
                text = f"{name} has no revision {self.revision!r}: see {hub}/{name} for its branches and tags"
            case RepositoryNotFoundError():
                text = (f"there is no folder {name}, and no model of that name on {hub}: correct the name; if the "
                        f"model is private, {log_in}")
            case HfHubHTTPError() if status == 404:
                text = f"there is no folder {name}, and {hub} answers 404 to that name: correct the name or HF_ENDPOINT"
            case HfHubHTTPError() if status in (401, 403):
                text = f"{hub} does not allow {name} to be read (HTTP status {status}): {log_in}"
            case HfHubHTTPError():
                text = f"{name} cannot be downloaded: {hub} answers with HTTP status {status}; try again later"
            case HFValidationError():
                text = f"there is no folder {name}, and no model can have that name on the hub: correct the name"
            case OSError(strerror=str(reason)):
                text = (f"{name} cannot be stored in {constants.HF_HUB_CACHE}: {reason}; free some space there, or set "
                        "HF_HUB_CACHE to another folder")
            case ValueError() | TypeError() | KeyError():
                text = f"there is no folder {name}, and {hub} does not answer as a hub does: correct HF_ENDPOINT"
            case _ if found:
                text = (f"{name} cannot be downloaded from {hub} ({_line(error)}): check the network, and run the "
                        "command again")
            case _:
                text = (f"there is no folder {name}, and no checkpoint can be downloaded from {hub} ({_line(error)}): "
                        "correct the name, or check the network and run the command again")
        return CheckpointError(text)
