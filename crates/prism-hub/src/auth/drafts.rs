//! What the two drafts of the Mercure protocol demand of tokens, one test for each case.
