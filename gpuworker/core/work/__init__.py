"""What a sandboxed child does with uploads: read models, read samples, run models on samples. The table of jobs is `sandbox/jobs.py`."""
