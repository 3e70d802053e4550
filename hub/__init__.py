# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What goes to the Hub and comes back from it."""
