# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What stands beside a pushed model, as it is pushed."""
