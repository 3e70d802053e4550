# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What answers requests: the handler, which is pushed with every model, and a server around it."""
