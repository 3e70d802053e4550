# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The embedded demo set: drawn pictures and their posts."""
