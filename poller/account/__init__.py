"""What the API's calls make of an account, beside what its template declares: functions, versions, configurations."""
