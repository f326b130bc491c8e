# One-line aliases; ./dev does the work and needs no make.
COMMANDS := up worker test check e2e lint types gpu bench seed docs help
.PHONY: $(COMMANDS)
.DEFAULT_GOAL := help
$(COMMANDS):
	@./dev $@ $(ARGS)
