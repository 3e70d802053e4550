# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What of a model is in force while adapters of peft are in it: without peft, all that there is."""

import copy

import torch
from torch import nn
from transformers.modeling_utils import load_state_dict
from transformers.utils import cached_file

from .configuration_roc import RELATION_FIELDS

DOWNLOAD_SETTINGS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")

# peft's names, read from its modules: it need not be installed. A layer with an adapter (`BaseTunerLayer`) keeps the
# original as `base_layer`; `ModulesToSaveWrapper` keeps it as `original_module`, and each adapter's copy beside it.


def copies(module: nn.Module) -> list[nn.Module]:
    """`module`, or, where peft keeps a copy of it for each adapter, the original and all copies."""
    if "modules_to_save" not in module._modules:
        return [module]
    return [module.original_module, *module.modules_to_save.values()]


def copy_in_force(module: nn.Module) -> nn.Module:
    """`module`, or, where peft keeps a copy of it for each adapter, the copy that answers now."""
    if "modules_to_save" not in module._modules:
        return module
    adapters, active = module.modules_to_save, _active_adapters(module)
    return adapters[active[0]] if active and active[0] in adapters else module.original_module


def replace_copy_in_force(parent: nn.Module, name: str, module: nn.Module):
    """Puts `module` where `copy_in_force(parent.name)` stands."""
    place = getattr(parent, name)
    old = copy_in_force(place)
    if place is old:
        setattr(parent, name, module)
    elif old is place.original_module:
        place.original_module = module
    else:
        place.modules_to_save[_active_adapters(place)[0]] = module


def weights_in_force(module: nn.Module) -> list[torch.Tensor | str]:
    """
    Everything that `module`'s answer depends on, besides its code and its inputs: its parameters, then its buffers. Of
    adapters there are only those that are active and not merged into the weights, with their scale as a string. What
    an adapter is called makes no difference.
    """
    parameters, buffers = [], []
    _collect(module, parameters, buffers)
    return [*parameters, *buffers]


def follow_adapter(model):
    """
    Makes `model.config` name the relations of the memory in force: an adapter that was trained whole with its relation
    memory brings its relations along. Loading an adapter does this, and so does every answer.
    """
    memory = copy_in_force(model.memory)
    if memory.config is model.config:
        return
    for other in copies(model.memory):
        if other.config is model.config:
            other.config = copy.copy(model.config)
    for name in RELATION_FIELDS:
        setattr(model.config, name, getattr(memory.config, name))
    memory.config = model.config


def load_adapter(model, load, peft_model_id=None, adapter_name=None, **kwargs):
    """
    Loads an adapter whose relations may be others than the model's.

    Args:
        model: the [`RocModel`].
        load: transformers' own `load_adapter` of it, which takes the other arguments.
    """
    weights = kwargs.get("adapter_state_dict")
    if weights is None:
        settings = dict(getattr(kwargs.get("load_config"), "download_kwargs", None) or {})
        settings |= kwargs.get("adapter_kwargs") or {}
        settings = {name: settings[name] for name in DOWNLOAD_SETTINGS if settings.get(name) is not None}
        path = cached_file(
            peft_model_id, "adapter_model.safetensors", _raise_exceptions_for_missing_entries=False, **settings
        )
        weights = {} if path is None else load_state_dict(path)
    weights = {name.removeprefix("base_model.model."): tensor for name, tensor in weights.items()}
    content = {name.removeprefix("memory."): weights[name] for name in weights if name.startswith("memory.")}
    if not content:
        return load(peft_model_id, adapter_name, **kwargs)
    # transformers loads no tensor into one of another size: what peft copies must have the adapter's sizes.
    own = copies(model.memory)[0]
    sized = copy.deepcopy(own)
    sized.load_state_dict(content)
    _set_base_memory(model, sized)
    try:
        return load(peft_model_id, adapter_name, **kwargs)
    finally:
        _set_base_memory(model, own)
        follow_adapter(model)


def _set_base_memory(model, memory: nn.Module):
    if "modules_to_save" in model.memory._modules:
        model.memory.original_module = memory
    else:
        model.memory = memory


def _active_adapters(module: nn.Module) -> list[str]:
    return [] if module.disable_adapters else list(module.active_adapters)


def _collect(module: nn.Module, parameters: list, buffers: list):
    module = copy_in_force(module)
    if "base_layer" in module._modules and hasattr(module, "merged_adapters"):
        _collect(module.base_layer, parameters, buffers)
        if module.merged_adapters:
            # Merging writes past a tensor's version.
            parameters.append(f"merged {module.merged_adapters}")
        for adapter in _active_adapters(module):
            if adapter not in module.merged_adapters:
                parameters.append(f"scale {getattr(module, 'scaling', {}).get(adapter)}")
                for name in module.adapter_layer_names:
                    _collect_item(getattr(module, name), adapter, parameters, buffers)
        return
    parameters += [parameter for parameter in module._parameters.values() if parameter is not None]
    buffers += [buffer for buffer in module._buffers.values() if buffer is not None]
    # What dynamic quantization keeps in place of weights.
    buffers += [value for value in vars(module).values() if isinstance(value, torch.ScriptObject)]
    for child in module.children():
        _collect(child, parameters, buffers)


def _collect_item(items, adapter: str, parameters: list, buffers: list):
    if adapter in items:
        if isinstance(items[adapter], nn.Module):
            _collect(items[adapter], parameters, buffers)
        else:
            parameters.append(items[adapter])
