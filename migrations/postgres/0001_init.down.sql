-- Children first, since foreign keys are checked at once.
DROP TABLE workers;
DROP TABLE run_signals;
DROP TABLE run_steps;
DROP TABLE run_events;
DROP TABLE run_inputs;
DROP TABLE runs;
DROP FUNCTION runs_forget_events;
DROP TABLE plans;
